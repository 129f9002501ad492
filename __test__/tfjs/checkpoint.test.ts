import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";

import { loadModel } from "../../ts/io/load_model.ts";
import { modelCheckpoint } from "../../ts/tfjs/checkpoint.ts";
import { getWeights, loadWeights } from "../../ts/tfjs/weights.ts";
import { tf } from "./predictions.ts";

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keras-weights-fit-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function compiled(): tf.Sequential {
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ units: 4, activation: "relu", inputShape: [3], name: "hidden" }),
      tf.layers.dense({ units: 2, activation: "softmax", name: "head" }),
    ],
  });
  model.compile({ optimizer: tf.train.adam(0.05), loss: "categoricalCrossentropy", metrics: ["accuracy"] });
  return model;
}

const x = tf.tensor2d([1, 0, 0, 0, 1, 0, 0, 0, 1, 1, 1, 0], [4, 3]);
const y = tf.tensor2d([1, 0, 0, 1, 1, 0, 0, 1], [4, 2]);

it("saves each epoch of fit under Keras' names, with messages", async () => {
  const model = compiled();
  const messages: string[] = [];
  const callback = modelCheckpoint(tf, join(folder, "{epoch:02d}-{loss:.2f}.weights.h5"), {
    saveWeightsOnly: true,
    monitor: "loss",
    verbose: 1,
    onMessage: (message) => messages.push(message),
  });
  const { history } = await model.fit(x, y, { epochs: 3, callbacks: [callback] });
  const losses = history["loss"] as number[];
  const names = losses.map((loss, epoch) => `0${epoch + 1}-${loss.toFixed(2)}.weights.h5`);
  expect(readdirSync(folder).sort()).toEqual(names);
  expect(messages[0]).toBe(`\nEpoch 1: saving model to ${join(folder, names[0]!)}`);
  const other = compiled();
  await loadWeights(other, join(folder, names[2]!));
  expect(getWeights(other).map(({ data }) => data)).toEqual(getWeights(model).map(({ data }) => data));
});

it("keeps the best by TensorFlow.js' metric names, beside other callbacks", async () => {
  const model = compiled();
  const best = modelCheckpoint(tf, join(folder, "best.weights.h5"), {
    saveWeightsOnly: true,
    saveBestOnly: true,
    monitor: "acc",
  });
  const { history } = await model.fit(x, y, {
    epochs: 5,
    callbacks: [best, tf.callbacks.earlyStopping({ monitor: "loss", patience: 5 })],
  });
  expect(best.checkpoint.best).toBe(Math.max(...(history["acc"] as number[])));
});

it("counts batches over epochs, from 1", async () => {
  const callback = modelCheckpoint(tf, join(folder, "e{epoch}b{batch}.weights.h5"), {
    saveWeightsOnly: true,
    saveFreq: 3,
  });
  await compiled().fit(x, y, { epochs: 2, batchSize: 1, shuffle: false, callbacks: callback });
  expect(readdirSync(folder).sort()).toEqual(["e1b3.weights.h5", "e2b2.weights.h5"]);
});

it("goes on where it stopped", async () => {
  const path = join(folder, "{epoch}.weights.h5");
  const model = compiled();
  const options = { saveWeightsOnly: true, keep: 2 } as const;
  await model.fit(x, y, { epochs: 3, callbacks: modelCheckpoint(tf, path, options) });
  const other = compiled();
  const callback = modelCheckpoint(tf, path, options);
  callback.setModel(other);
  const latest = await callback.checkpoint.restore();
  expect(latest).toEqual({ path: join(folder, "3.weights.h5"), initialEpoch: 3 });
  expect(getWeights(other).map(({ data }) => data)).toEqual(getWeights(model).map(({ data }) => data));
  await other.fit(x, y, { initialEpoch: latest!.initialEpoch!, epochs: 5, callbacks: callback });
  expect(readdirSync(folder).filter((name) => name.endsWith(".h5"))).toEqual(["4.weights.h5", "5.weights.h5"]);
});

it.each(["keras", "h5"])("saves whole models with their optimizer, and goes on from one (.%s)", async (suffix) => {
  const path = join(folder, `{epoch}.${suffix}`);
  const model = compiled();
  await model.fit(x, y, { epochs: 2, callbacks: modelCheckpoint(tf, path, { keep: 1 }) });
  const saved = await loadModel(join(folder, `2.${suffix}`));
  expect(saved.optimizer?.className).toBe("Adam");
  expect(saved.optimizer?.variables[0]?.read()).toEqual(new BigInt64Array([2n]));
  expect(saved.getWeights().map(({ data }) => data)).toEqual(getWeights(model).map(({ data }) => data));
  const other = compiled();
  const callback = modelCheckpoint(tf, path, { keep: 1 });
  callback.setModel(other);
  expect(await callback.checkpoint.restore()).toMatchObject({ initialEpoch: 2 });
  expect(getWeights(other).map(({ data }) => data)).toEqual(getWeights(model).map(({ data }) => data));
});
