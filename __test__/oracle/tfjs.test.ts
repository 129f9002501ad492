// The way back from TensorFlow.js: what we saved, real Keras opens, with the same weights bit for bit and the same
// predictions; and training goes on there from where TensorFlow.js stopped.
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { dataFile, highHeldOut } from "../../examples/transfer/digits.ts";
import { transfer } from "../../examples/transfer/transfer.ts";
import { loadLayersModel } from "../../ts/tfjs/load.ts";
import { saveModel } from "../../ts/tfjs/save.ts";
import { getWeights } from "../../ts/tfjs/weights.ts";
import { corpusModels } from "../model/corpus.ts";
import { expressible } from "../tfjs/expressible.ts";
import { recorded, tf } from "../tfjs/predictions.ts";
import { optimizers, trainable, type Trainable } from "../tfjs/trainable.ts";
import { fill, inputsOf, predicted, zoo, type Values } from "../tfjs/zoo.ts";
import { Judge, pythonOracle } from "./venv.mjs";

const folder = mkdtempSync(join(tmpdir(), "kw-tfjs-oracle-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Verdict {
  readonly ok: boolean;
  readonly message?: string;
  readonly max_pred_diff: number;
  readonly weights: readonly { readonly shape: number[]; readonly sha256: string }[];
}

interface Training {
  readonly ok: boolean;
  readonly message?: string;
  readonly class: string;
  readonly rate: number;
  readonly config: Readonly<Record<string, unknown>>;
  readonly state: readonly { readonly name: string; readonly values: number[] }[];
  readonly losses: readonly number[];
}

const packed = ({ shape, values, dtype = "float32" }: Values & { dtype?: string }): object => ({
  shape,
  dtype,
  data: Buffer.from((dtype === "int32" ? Int32Array.from(values) : values).buffer).toString("base64"),
});

describe.each([
  ["Keras 3", 3, "keras3"],
  ["tf_keras", 2, "keras2"],
] as const)("%s", (_name, version, flavor) => {
  let judge: Judge;
  beforeAll(async () => {
    judge = new Judge(await pythonOracle(), version);
  }, 900_000);
  afterAll(async () => {
    await judge.close();
  });

  async function opened(
    model: tf.LayersModel,
    file: string,
    inputs: readonly Values[],
    outputs: readonly Values[],
  ): Promise<void> {
    await saveModel(model, file, { flavor, onNote: () => undefined });
    const types = model.inputs.map(({ dtype }) => dtype);
    const verdict = (await judge.ask({
      op: "tfjs_predicts",
      file,
      inputs: inputs.map((one, index) => packed({ ...one, dtype: types[index] ?? "float32" })),
      outputs: outputs.map((one) => packed(one)),
    })) as Verdict;
    expect(verdict, verdict.message).toMatchObject({ ok: true });
    const weights = getWeights(model, { flavor }).map(({ data, shape }) => ({
      shape: [...shape],
      sha256: createHash("sha256")
        .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
        .digest("hex"),
    }));
    expect(verdict.weights.map(({ shape, sha256 }) => ({ shape, sha256 }))).toEqual(weights);
    expect(verdict.max_pred_diff).toBeLessThanOrEqual(1e-5);
  }

  const made = zoo.filter(({ refused }) => refused?.[flavor] === undefined);
  it.each(made.flatMap((one) => (["keras", "h5"] as const).map((suffix) => ({ ...one, suffix }))))(
    "opens $name, made by TensorFlow.js, from .$suffix",
    async ({ name, make, below, suffix }) => {
      const model = make();
      fill(model);
      const inputs = inputsOf(model, below);
      await opened(model, join(folder, `${name}-${version}.${suffix}`), inputs, predicted(model, inputs));
    },
  );

  it.each(
    corpusModels("config.json")
      .filter(({ id }) => expressible(id))
      .flatMap((one) => (["keras", "h5"] as const).map((suffix) => ({ ...one, suffix }))),
  )("opens $id, which went through TensorFlow.js, from .$suffix", async ({ id, folder: at, flavor: from, suffix }) => {
    const file = join(at, from === "keras2" ? "weights.h5" : "model.weights.h5");
    const model = await loadLayersModel(tf, file, { config: join(at, "config.json"), onNote: () => undefined });
    const { inputs, outputs } = recorded(at);
    await opened(model, join(folder, `${id}-${version}.${suffix}`), inputs, outputs);
  });

  // Keras 3 opens .h5 files of compiled models, but cannot train on from any of them, its own included.
  const suffixes = version === 3 ? (["keras"] as const) : (["keras", "h5"] as const);
  it.each(optimizers.flatMap((one) => suffixes.map((suffix) => ({ ...one, suffix }))))(
    "goes on with $name as TensorFlow.js would, from .$suffix",
    async ({ name, optimizer, keras, same, suffix }) => {
      const training: Trainable = trainable(optimizer());
      await training.steps(4);
      const file = join(folder, `${name}-${version}.${suffix}`);
      await saveModel(training.model, file, { flavor, onNote: () => undefined });
      expect(existsSync(file)).toBe(true);
      const state = training.state(keras.slots);
      const losses = await training.steps(6);
      const { x, y } = training;
      const found = (await judge.ask({ op: "tfjs_goes_on", file, x: packed(x), y: packed(y), steps: 6 })) as Training;
      expect(found, found.message).toMatchObject({ ok: true, class: keras.className });
      expect(found.rate).toBe(Math.fround(keras.rate));
      const [iteration, ...slots] = found.state.filter(({ name: label }) => !label.includes("learning_rate"));
      expect(iteration!.values).toEqual([4]);
      // tf_keras keeps an empty momentum for every SGD.
      if (state.length > 0) expect(slots.map(({ values }) => values)).toEqual(state);
      for (const [option, value] of Object.entries(keras.config)) expect(found.config[option], option).toBe(value);
      const off = losses.map((loss, step) => Math.abs(loss - found.losses[step]!) / loss);
      if (same) expect(Math.max(...off)).toBeLessThanOrEqual(1e-4);
      else expect(off[0]).toBeLessThanOrEqual(1e-5);
    },
  );
});

it("Keras 3 gets as many digits right with the example's best checkpoint", async () => {
  const judge = new Judge(await pythonOracle(), 3);
  try {
    const best = join(folder, "best.weights.h5");
    const { correctAfter, total } = await transfer(best);
    const { images, labels } = highHeldOut;
    const found = await judge.ask({
      op: "tfjs_classifies",
      config: dataFile("base.json"),
      weights: best,
      inputs: [packed({ shape: [labels.length, 8, 8, 1], values: images })],
      labels: [...labels],
    });
    expect(found).toEqual({ ok: true, correct: correctAfter });
    expect([correctAfter, total]).toEqual([176, 180]);
  } finally {
    await judge.close();
  }
}, 900_000);
