import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { modelFromConfig } from "../../ts/config/read.ts";
import { isWeightsError } from "../../ts/errors.ts";
import { copyWeights } from "../../ts/tfjs/copy.ts";
import { loadLayersModel } from "../../ts/tfjs/load.ts";
import { getWeights, loadWeights, saveWeights, setWeights } from "../../ts/tfjs/weights.ts";
import { corpus } from "../model/corpus.ts";
import { predictionError, tf } from "./predictions.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "keras-weights-tfjs-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const fixture = (name: string, keras: "k2" | "k3"): string => join(corpus, name, keras);

async function load(name: string, keras: "k2" | "k3"): Promise<tf.LayersModel> {
  const at = fixture(name, keras);
  const file = join(at, keras === "k2" ? "weights.h5" : "model.weights.h5");
  return loadLayersModel(tf, file, { config: join(at, "config.json"), onNote: () => undefined });
}

/** The same layers as mnist_dense, made by TensorFlow.js itself. */
function ownMnist(names: readonly [string, string] = ["dense", "dense_1"]): tf.Sequential {
  return tf.sequential({
    layers: [
      tf.layers.dense({ units: 64, activation: "relu", inputShape: [784], name: names[0] }),
      tf.layers.dense({ units: 10, activation: "softmax", name: names[1] }),
    ],
  });
}

describe("weights of a TensorFlow.js model", () => {
  it.each(["k2", "k3"] as const)("come in Keras' order, frozen or not (%s)", async (keras) => {
    const config = readFileSync(join(fixture("cnn_bn", keras), "config.json"), "utf8");
    const twin = modelFromConfig(config);
    await twin.loadWeights(join(fixture("cnn_bn", keras), keras === "k2" ? "weights.h5" : "model.weights.h5"));
    const expected = twin.getWeights();
    const model = await load("cnn_bn", keras);
    const found = getWeights(model);
    expect(found.map(({ path, shape }) => [path, shape])).toEqual(expected.map(({ path, shape }) => [path, shape]));
    expect(found.map(({ data }) => data)).toEqual(expected.map(({ data }) => data));
    // TensorFlow.js' own list has another order, and changes it: that is why there is this one.
    expect(model.getWeights().map(({ shape }) => shape)).not.toEqual(expected.map(({ shape }) => shape));
    for (const layer of model.layers) layer.trainable = false;
    expect(getWeights(model).map(({ data }) => data)).toEqual(expected.map(({ data }) => data));
  });

  it("are copied in and out", () => {
    const model = ownMnist();
    const kernel = new Float32Array(784 * 64).fill(0.5);
    const values = [kernel, new Float32Array(64), new Float32Array(640), new Float32Array(10).fill(3)];
    setWeights(model, values);
    kernel.fill(7);
    values[3]!.fill(7);
    const [first, , , last] = getWeights(model);
    expect(first!.data[0]).toBe(0.5);
    expect([...last!.data]).toEqual(Array.from({ length: 10 }, () => 3));
    first!.data.fill(9);
    expect(getWeights(model)[0]!.data[0]).toBe(0.5);
  });

  it("are checked before anything changes", () => {
    const model = ownMnist();
    const before = getWeights(model);
    const short = [new Float32Array(784 * 64), new Float32Array(64), new Float32Array(640), new Float32Array(9)];
    expect(() => {
      setWeights(model, short);
    }).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_SHAPE" }));
    expect(() => {
      setWeights(model, short.slice(1));
    }).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_WEIGHT_COUNT" }));
    expect(getWeights(model).map(({ data }) => data)).toEqual(before.map(({ data }) => data));
  });

  it("are set as they are, whatever constraint there is", () => {
    const model = tf.sequential({
      layers: [tf.layers.dense({ units: 2, inputShape: [1], kernelConstraint: "nonNeg", useBias: false })],
    });
    setWeights(model, [new Float32Array([-1, 2])]);
    expect([...getWeights(model)[0]!.data]).toEqual([-1, 2]);
  });

  it.each([
    ["k3", "model.weights.h5", "keras3_h5"],
    ["k3", "legacy_weights.h5", "legacy_h5"],
    ["k2", "weights.h5", "legacy_h5"],
  ] as const)("load into a model that TensorFlow.js made (%s/%s)", async (keras, file, format) => {
    const model = ownMnist();
    const report = await loadWeights(model, join(fixture("mnist_dense", keras), file));
    expect(report.format).toBe(format);
    expect(report.loaded).toHaveLength(4);
    expect(predictionError(model, fixture("mnist_dense", keras))).toBeLessThanOrEqual(1e-5);
  });

  it("load by name, and leave out what does not fit", async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: 64, inputShape: [784], name: "dense" }),
        tf.layers.dense({ units: 5, name: "dense_1" }),
      ],
    });
    const head = getWeights(model)[2]!.data;
    const warnings: string[] = [];
    const report = await loadWeights(model, join(fixture("mnist_dense", "k2"), "weights.h5"), {
      byName: true,
      skipMismatch: true,
      flavor: "keras2",
      onWarning: ({ code }) => warnings.push(code),
    });
    expect(report.loaded).toHaveLength(2);
    expect(report.skipped.map(({ layer, reason }) => [layer, reason])).toEqual([["dense_1", "ERR_WEIGHTS_SHAPE"]]);
    expect(warnings).toHaveLength(1);
    expect(getWeights(model)[2]!.data).toEqual(head);
    const file = join(fixture("mnist_dense", "k2"), "weights.h5");
    await expect(loadWeights(model, file)).rejects.toMatchObject({ code: "ERR_WEIGHTS_SHAPE" });
  });

  it("keep layers that are to be skipped", async () => {
    const model = ownMnist();
    const before = getWeights(model);
    const file = join(fixture("mnist_dense", "k3"), "model.weights.h5");
    await loadWeights(model, file, { objectsToSkip: [model.layers[0]!] });
    const after = getWeights(model);
    expect(after[0]!.data).toEqual(before[0]!.data);
    expect(after[2]!.data).not.toEqual(before[2]!.data);
    await expect(loadWeights(model, file, { objectsToSkip: [ownMnist()] })).rejects.toMatchObject({
      code: "ERR_WEIGHTS_ARGUMENT",
    });
  });

  it.each([
    ["cnn_bn", "k3", "a.weights.h5"],
    ["cnn_bn", "k2", "b.h5"],
    ["gru", "k3", "c.weights.h5"],
    ["gru", "k2", "d.h5"],
    ["nested_functional", "k3", "e.weights.h5"],
    ["nested_functional", "k2", "f.h5"],
    ["lstm", "k3", "g.h5"],
  ] as const)("are saved as Keras saves them (%s %s)", async (name, keras, file) => {
    const model = await load(name, keras);
    const path = join(folder, file);
    await saveWeights(model, path);
    const twin = modelFromConfig(readFileSync(join(fixture(name, keras), "config.json"), "utf8"));
    await twin.loadWeights(path);
    expect(twin.getWeights().map(({ data }) => data)).toEqual(getWeights(model).map(({ data }) => data));
    const again = await loadLayersModel(tf, path, {
      config: join(fixture(name, keras), "config.json"),
      onNote: () => undefined,
    });
    expect(predictionError(again, fixture(name, keras))).toBeLessThanOrEqual(1e-5);
  });
});

describe("a whole model", () => {
  it("is refused with the list of all layers in one error", async () => {
    const at = fixture("norms", "k3");
    const error: unknown = await loadLayersModel(tf, join(at, "model.weights.h5"), {
      config: join(at, "config.json"),
    }).catch((reason: unknown) => reason);
    if (!isWeightsError(error, "ERR_WEIGHTS_UNSUPPORTED")) throw error;
    for (const layer of ["gn (GroupNormalization)", "un (UnitNormalization)", "rms (RMSNormalization)"]) {
      expect(error.message).toContain(`${layer}: TensorFlow.js has no such layer`);
    }
  });

  it("is refused before the file is read", async () => {
    const config = join(fixture("mha_transformer", "k3"), "config.json");
    await expect(loadLayersModel(tf, "no-such-file.weights.h5", { config })).rejects.toMatchObject({
      code: "ERR_WEIGHTS_UNSUPPORTED",
    });
  });

  it("needs a config where the file has none", async () => {
    const file = join(fixture("mnist_dense", "k3"), "model.weights.h5");
    await expect(loadLayersModel(tf, file)).rejects.toMatchObject({ code: "ERR_WEIGHTS_CONFIG" });
    await expect(loadLayersModel(tf, file, { config: join(folder, "none.json") })).rejects.toMatchObject({
      code: "ERR_WEIGHTS_NOT_FOUND",
    });
    await expect(loadLayersModel(tf, file, { config: "{" })).rejects.toMatchObject({ code: "ERR_WEIGHTS_CONFIG" });
  });

  it("keeps its frozen layers, and frozen batch normalization keeps its averages", async () => {
    const model = await load("cnn_bn", "k3");
    for (const layer of model.layers) if (layer.getClassName() !== "Dense") layer.trainable = false;
    const before = getWeights(model);
    model.compile({ optimizer: tf.train.sgd(0.1), loss: "meanSquaredError" });
    const shape = model.inputs[0]!.shape.slice(1) as number[];
    const units = model.outputs[0]!.shape.at(-1)!;
    await model.fit(tf.randomNormal([4, ...shape]), tf.randomNormal([4, units]), { epochs: 2 });
    const changed = getWeights(model).filter(({ data }, index) =>
      data.some((value, at) => value !== before[index]!.data[at]),
    );
    expect(changed.map(({ name }) => name)).toEqual(["kernel", "bias"]);
  });

  it("is saved by TensorFlow.js in classes that it knows itself", async () => {
    const model = await load("cnn_bn", "k3");
    const text = JSON.stringify(model.toJSON(null, false));
    expect(text).not.toContain("KerasWeights");
    const again = await tf.models.modelFromJSON(model.toJSON(null, false) as never);
    expect(again.countParams()).toBe(model.countParams());
  });
});

describe("GRU with reset_after", () => {
  it("is trained: gradients reach every weight", async () => {
    const model = await load("gru", "k3");
    const before = getWeights(model);
    model.compile({ optimizer: tf.train.sgd(0.5), loss: "meanSquaredError" });
    const random = ({ shape }: tf.SymbolicTensor): tf.Tensor =>
      tf.randomNormal([4, ...shape.slice(1).map((dim) => dim ?? 5)]);
    const [inputs, outputs] = [model.inputs.map(random), model.outputs.map(random)];
    await model.fit(inputs, outputs, { epochs: 1 });
    const same = getWeights(model).filter(({ data }, index) =>
      data.every((value, at) => value === before[index]!.data[at]),
    );
    expect(same.map(({ path }) => path)).toEqual([]);
  });

  it("comes back from TensorFlow.js' own JSON", async () => {
    const model = await load("gru", "k3");
    const again = await tf.models.modelFromJSON(model.toJSON(null, false) as never);
    setWeights(again, getWeights(model));
    expect(predictionError(again, fixture("gru", "k3"))).toBeLessThanOrEqual(1e-5);
  });
});

describe("copyWeights", () => {
  it("copies by name under a new head, and says so in a sentence", async () => {
    const base = await load("mnist_dense", "k3");
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: 64, activation: "relu", inputShape: [784], name: "dense", trainable: false }),
        tf.layers.dense({ units: 5, activation: "softmax", name: "dense_1" }),
      ],
    });
    const head = getWeights(model)[2]!.data;
    const report = copyWeights(base, model);
    expect(String(report)).toBe(
      "1 layer copied: dense. " +
        "1 left as it was: dense_1 (its shapes differ: [64, 10] [10] to copy, [64, 5] [5] here). " +
        "1 layer not used: dense_1.",
    );
    expect(getWeights(model)[0]!.data).toEqual(getWeights(base)[0]!.data);
    expect(getWeights(model)[2]!.data).toEqual(head);
    expect(model.layers[0]!.trainable).toBe(false);
  });

  it("copies by order, between models of both kinds", async () => {
    const at = fixture("mnist_dense", "k2");
    const keras = modelFromConfig(readFileSync(join(at, "config.json"), "utf8"));
    await keras.loadWeights(join(at, "weights.h5"));
    const model = ownMnist(["first", "second"]);
    expect(copyWeights(keras, model, { byName: false }).copied).toEqual(["first", "second"]);
    expect(predictionError(model, at)).toBeLessThanOrEqual(1e-5);
    const other = modelFromConfig(readFileSync(join(at, "config.json"), "utf8"));
    expect(copyWeights(model, other, { byName: false, layers: ["dense_1"] }).copied).toEqual(["dense_1"]);
  });

  it("fails when nothing fits or a layer is not there", async () => {
    const base = await load("mnist_dense", "k3");
    expect(() => copyWeights(base, ownMnist(["a", "b"]))).toThrow(
      expect.objectContaining({ code: "ERR_WEIGHTS_NO_MATCH" }),
    );
    expect(() => copyWeights(base, ownMnist(), { layers: ["nope"] })).toThrow(
      expect.objectContaining({ code: "ERR_WEIGHTS_ARGUMENT" }),
    );
  });
});
