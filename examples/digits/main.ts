// A classifier of handwritten digits, trained by Keras in Python, used and changed in Node, and saved for Keras again.
// Run it with `npm run quickstart`.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { layers, sequential, type Model, type Tensor } from "keras-weights";

import { dataFile, heldOutDigits, recordedByKeras } from "./digits.ts";
import { evaluate, type Evaluation } from "./evaluate.ts";

const steps = 6;
let stepsDone = 0;
const step = (text: string): void => {
  stepsDone += 1;
  console.log(`\n[${stepsDone}/${steps}] ${text}`);
};
const say = (text: string): void => {
  console.log(`      ${text}`);
};
const percent = (share: number): string => `${(100 * share).toFixed(2)} %`;
const score = ({ correct, accuracy }: Evaluation): string =>
  `${correct} of ${digits.labels.length} right (${percent(accuracy)})`;

/** Ends the program: what this example shows must be true, or it must not look as if it were. */
function insist(holds: boolean, claim: string): void {
  if (holds) return;
  console.error(`\nThis should not happen: ${claim}.`);
  process.exit(1);
}

function bytesOf({ data }: Tensor): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength);
}

function sameWeights(one: Tensor[], other: Tensor[]): boolean {
  return (
    one.length === other.length &&
    one.every((weight, index) => {
      const twin = other[index];
      return twin !== undefined && bytesOf(weight).equals(bytesOf(twin));
    })
  );
}

function classifier(flavor: "keras3" | "keras2"): Model {
  return sequential(
    [layers.input([64]), layers.dense(64, { activation: "relu" }), layers.dense(10, { activation: "softmax" })],
    { flavor },
  );
}

const digits = heldOutDigits();

step("The model, built in TypeScript");
const model = classifier("keras3");
for (const weight of model.weights) say(`${weight.path.padEnd(28)} ${weight.dtype} [${weight.shape.join(", ")}]`);
say(`${model.countParams()} parameters, not trained: ${score(evaluate(model, digits))}`);

step("The weights that Keras saved");
for (const [keras, flavor, file] of [
  ["k3", "keras3", "k3.weights.h5"],
  ["k2", "keras2", "k2.h5"],
] as const) {
  const recorded = recordedByKeras(keras);
  const target = keras === "k3" ? model : classifier(flavor);
  const report = await target.loadWeights(dataFile(file), {
    onProgress: ({ done, total }) => {
      say(`${file}: ${done} of ${total} bytes`);
    },
  });
  const found = evaluate(target, digits);
  say(`${report.format}, ${report.loaded.length} weights loaded: ${score(found)}`);
  say(
    `${recorded.framework} in Python measured ${recorded.correct} of ${recorded.total} (${percent(recorded.accuracy)})`,
  );
  insist(found.accuracy === recorded.accuracy, `${file} gives ${found.accuracy}, Keras measured ${recorded.accuracy}`);
  insist(Buffer.from(found.predicted).equals(recorded.predicted), `${file} is right about other pictures than Keras`);
}

step("One layer changed: its bias towards the digit 8 grows by 3");
const head = model.getLayer(1);
// `getWeights` gives live views; `copy()` keeps the values of now.
const before = head.getWeights().map((weight) => weight.copy());
const [kernel, bias] = before;
if (kernel === undefined || bias === undefined) throw new Error("a dense layer has a kernel and a bias");
const towards8 = bias.toFloat32().map((value, digit) => (digit === 8 ? value + 3 : value));
head.setWeights([kernel, towards8]);
const biased = evaluate(model, digits);
const eights = biased.predicted.filter((digit) => digit === 8).length;
say(`${score(biased)}; it now sees ${eights} eights where there are ${digits.labels.filter((d) => d === 8).length}`);

const folder = mkdtempSync(join(tmpdir(), "keras-weights-digits-"));
try {
  step("Saved in both formats of Keras");
  const paths = { "Keras 3": join(folder, "digits.weights.h5"), "Keras 1 and 2": join(folder, "digits.h5") };
  for (const [name, path] of Object.entries(paths)) {
    const { format } = await model.saveWeights(path, { overwrite: false });
    say(`${name.padEnd(14)} ${format.padEnd(10)} ${statSync(path).size} bytes`);
  }

  step("Loaded again into fresh models");
  for (const [name, path] of Object.entries(paths)) {
    const again = classifier("keras3");
    await again.loadWeights(path);
    insist(sameWeights(model.getWeights(), again.getWeights()), `${path} gives other weights than were saved`);
    insist(Buffer.from(evaluate(again, digits).predicted).equals(biased.predicted), `${path} predicts otherwise`);
    say(`${name.padEnd(14)} every weight equal, bit for bit`);
  }

  step("The layer put back");
  head.setWeights(before);
  const last = evaluate(model, digits);
  insist(last.accuracy === recordedByKeras("k3").accuracy, "the accuracy did not come back");
  say(score(last));
} finally {
  rmSync(folder, { recursive: true, force: true });
}
console.log("\nKeras' accuracy reproduced to the digit.");
