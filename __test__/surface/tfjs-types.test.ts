// A strict program that uses keras-weights/tfjs compiles: beside TensorFlow.js, without a cast, and where no type of
// TensorFlow.js can be found.
import { mkdtempSync, rmSync, symlinkSync, writeFileSync, mkdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import ts from "typescript";
import { expect, test } from "vitest";

const root = fileURLToPath(new URL("../..", import.meta.url));

const withTensorFlow = `
import * as tf from "@tensorflow/tfjs";
import { copyWeights, getWeights, loadLayersModel, loadWeights, modelCheckpoint, saveModel, saveWeights } from "keras-weights/tfjs";

const model: tf.LayersModel = await loadLayersModel(tf, new URL("file:///model.keras"), { dtype: "float32" });
const checkpoint = modelCheckpoint(tf, "run/{epoch}.keras", { keep: 2 });
await model.fit(tf.zeros([1, 2]), tf.zeros([1, 1]), { callbacks: [checkpoint, tf.callbacks.earlyStopping({})] });
const latest: { initialEpoch?: number } | undefined = await checkpoint.checkpoint.restore();
const first: Float32Array | undefined = getWeights(model)[0]?.data;
const bytes: number = (await saveModel(model, "model.h5", { flavor: "keras2", includeOptimizer: false })).tensorBytes;
const sentence: string = String(copyWeights(model, tf.sequential(), { byName: false }));
await saveWeights(model, "w.weights.h5");
await loadWeights(model, "w.weights.h5", { skipMismatch: true });
// @ts-expect-error there is no such flavour
await saveModel(model, "model.keras", { flavor: "keras4" });
// @ts-expect-error that is no namespace of TensorFlow.js
await loadLayersModel({}, "model.keras");
export { bytes, first, latest, sentence };
`;

const without = `
import { saveModel, translateConfig, type Refusal, type TfModelLike } from "keras-weights/tfjs";

declare const model: TfModelLike;
const refused: readonly Refusal[] = translateConfig({ class_name: "Sequential", config: { layers: [] } }).refused;
await saveModel(model, "model.keras");
export { refused };
`;

function problems(text: string, packages: readonly string[]): string[] {
  const folder = mkdtempSync(join(tmpdir(), "keras-weights-types-"));
  try {
    mkdirSync(join(folder, "node_modules", "@types"), { recursive: true });
    symlinkSync(root, join(folder, "node_modules", "keras-weights"), "dir");
    for (const name of packages)
      symlinkSync(join(root, "node_modules", name), join(folder, "node_modules", name), "dir");
    writeFileSync(join(folder, "package.json"), '{ "type": "module" }');
    const file = join(folder, "consumer.ts");
    writeFileSync(file, text);
    const program = ts.createProgram([file], {
      strict: true,
      exactOptionalPropertyTypes: true,
      noEmit: true,
      target: ts.ScriptTarget.ES2022,
      lib: ["lib.es2022.d.ts", "lib.esnext.disposable.d.ts", "lib.dom.d.ts"],
      module: ts.ModuleKind.NodeNext,
      moduleResolution: ts.ModuleResolutionKind.NodeNext,
      preserveSymlinks: true,
      // TensorFlow.js' own declarations are not clean; ours are checked below.
      skipLibCheck: packages.length > 1,
      types: ["node"],
    });
    return ts.getPreEmitDiagnostics(program).map(({ messageText, file: at }) => {
      const name = at === undefined ? "" : at.fileName.slice(folder.length);
      return `${name}: ${ts.flattenDiagnosticMessageText(messageText, " ")}`;
    });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

test("beside TensorFlow.js", { timeout: 120_000 }, () => {
  expect(problems(withTensorFlow, ["@types/node", "@tensorflow"])).toEqual([]);
});

test("without TensorFlow.js", { timeout: 120_000 }, () => {
  expect(problems(without, ["@types/node"])).toEqual([]);
});
