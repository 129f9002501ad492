/**
 * One model of each Keras, in checkpoints and SavedModels under every root that people save from: the model itself, an
 * object that holds it, beside its optimizer, `model.export`. All load into models of both Kerases.
 */
import { existsSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { join } from "node:path";

import { latestCheckpoint, layers, modelFromConfig, sequential } from "keras-weights";
import { expect, it } from "vitest";

import { readJson, sha256 } from "../support/corpus.ts";

const root = fileURLToPath(new URL("../fixtures/tf_roots", import.meta.url));
const flavors = ["k2", "k3"] as const;

interface Recorded {
  readonly weights: readonly string[];
  readonly optimizer: readonly string[];
}

/** What a user would give: the prefix, the latest of a folder, or the folder of a SavedModel. */
async function pathOf(folder: string): Promise<string> {
  if (existsSync(`${folder}.index`)) return folder;
  if (existsSync(join(folder, "w.index"))) return join(folder, "w");
  return (await latestCheckpoint(folder))?.path ?? folder;
}

const cases = flavors.flatMap((from) => {
  const names = readdirSync(join(root, from), { withFileTypes: true }).filter((entry) => entry.isDirectory());
  const all = [...names.map(({ name }) => name), ...(from === "k2" ? ["weights"] : [])];
  return flavors.flatMap((into) => all.map((name) => [from, into, name] as const));
});

it("there are cases", () => {
  expect(cases.length).toBeGreaterThan(35);
});

it.each(cases)("%s into %s: %s", async (from, into, name) => {
  const expected = readJson(join(root, from, "expected.json")) as Recorded;
  const model = modelFromConfig(readJson(join(root, into, "config.json")) as object);
  const config = { name: "SGD", momentum: 0.9, ...(into === "k2" && { is_legacy_optimizer: false }) };
  model.compile({ optimizer: { class_name: "SGD", config }, loss: "mse" });
  const warnings: string[] = [];
  const report = await model.loadWeights(await pathOf(join(root, from, name)), {
    onWarning: ({ code }) => warnings.push(code),
  });
  // What the user's own object holds beside the model is not the model's.
  expect(report).toMatchObject({ format: "tf_checkpoint", missing: [], unexpected: [], cast: [], skipped: [] });
  expect(model.getWeights().map(({ data }) => sha256(data))).toEqual(expected.weights);
  const state = model.optimizer?.variables.map(({ value }) => value && sha256(value));
  // An exported model has no optimizer any more, names hold weights alone, and Kerases do not take each other's.
  const alone = name === "exported" || name === "names";
  if (from === into && !alone) expect(state).toEqual(expected.optimizer);
  else expect(new Set(state)).toEqual(new Set([undefined]));
  expect(warnings).toEqual(from === into || alone ? [] : ["WARN_WEIGHTS_SKIPPED_OPTIMIZER"]);
});

it("a model inside is taken only with all its weights, and a list of variables only if every shape fits", async () => {
  const stack = [layers.input([3]), layers.dense(4), layers.batchNormalization(), layers.dense(2), layers.prelu()];
  const other = sequential(stack, { flavor: "keras3" });
  const wide = sequential([layers.input([3]), layers.dense(5), layers.batchNormalization(), layers.dense(2)]);
  for (const [name, model] of [
    ["holder/w", other],
    ["exported", other],
    ["exported", wide],
  ] as const) {
    const wanted = { code: "ERR_WEIGHTS_NO_MATCH" };
    await expect(model.loadWeights(join(root, "k3", name)), name).rejects.toMatchObject(wanted);
  }
});
