import { describe as suite, expect, it } from "vitest";

import { layers } from "../../ts/layers/index.ts";
import { model as functional } from "../../ts/model/functional.ts";
import { Layer } from "../../ts/model/layer.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { sequential } from "../../ts/model/sequential.ts";
import { tensor } from "../../ts/tensor.ts";

function small() {
  clearSession();
  return sequential([layers.input([3]), layers.dense(2), layers.batchNormalization(), layers.dense(1)]);
}

function failure(act: () => unknown): Record<string, unknown> {
  try {
    act();
  } catch (error) {
    const { code, layer, weight, expected, found, message } = error as Record<string, unknown>;
    return { code, layer, weight, expected, found, message };
  }
  return {};
}

suite("weights of layers and models", () => {
  it("setWeights copies, casts and shares nothing", () => {
    const [a, b] = [layers.dense(2), layers.dense(2)];
    for (const layer of [a, b]) layer.build([null, 1]);
    const values = new Float64Array([1, 2.5]);
    a.setWeights([tensor(values, [1, 2]), new Int32Array([3, 4])]);
    values[0] = 9;
    expect(a.getWeights().map(({ data }) => [...(data as Float32Array)])).toEqual([
      [1, 2.5],
      [3, 4],
    ]);
    b.setWeights(a.getWeights());
    (b.getWeights()[0]!.data as Float32Array)[0] = 7;
    expect((a.getWeights()[0]!.data as Float32Array)[0]).toBe(1);
  });

  it("a wrong count names the layer and both counts", () => {
    const model = small();
    expect(
      failure(() => {
        model.setWeights([]);
      }),
    ).toMatchObject({ code: "ERR_WEIGHTS_WEIGHT_COUNT", layer: "sequential", expected: 8, found: 0 });
    expect(
      failure(() => {
        model.getLayer("dense").setWeights([new Float32Array(6)]);
      }),
    ).toMatchObject({ code: "ERR_WEIGHTS_WEIGHT_COUNT", layer: "dense", expected: 2, found: 1 });
  });

  it("a wrong shape names layer, weight and both shapes, and nothing changes", () => {
    const model = small();
    const before = model.getWeights().map((weight) => weight.copy());
    const values = before.map(({ shape, size }) => tensor(new Float32Array(size).fill(5), shape));
    values[6] = tensor(new Float32Array(2), [1, 2]);
    expect(
      failure(() => {
        model.setWeights(values);
      }),
    ).toMatchObject({
      code: "ERR_WEIGHTS_SHAPE",
      layer: "dense_1",
      weight: "sequential/dense_1/kernel",
      expected: [2, 1],
      found: [1, 2],
    });
    expect(model.getWeights().map(({ data }) => data)).toEqual(before.map(({ data }) => data));
  });

  it("an unbuilt layer has no weights, and says what it lacks", () => {
    const layer = layers.dense(2);
    expect(layer.getWeights()).toEqual([]);
    layer.setWeights([]);
    expect(failure(() => layer.countParams())).toMatchObject({ code: "ERR_WEIGHTS_UNBUILT", layer: layer.name });
    expect(
      failure(() => {
        layers.dense(2).build([null, null]);
      }),
    ).toMatchObject({ code: "ERR_WEIGHTS_UNBUILT" });
    const model = sequential([layers.dense(2)]);
    expect(model.built).toBe(false);
    model.build([null, 3]);
    expect(model.countParams()).toBe(8);
  });

  it("trainable and non-trainable weights, and freezing", () => {
    for (const flavor of ["keras3", "keras2"] as const) {
      clearSession();
      const bn = layers.batchNormalization();
      const model = sequential([layers.input([3]), layers.dense(2), bn], { flavor });
      const short = (list: readonly { localName: string }[]): string[] => list.map(({ localName }) => localName);
      expect(short(model.trainableWeights)).toEqual(["kernel", "bias", "gamma", "beta"]);
      expect(short(model.nonTrainableWeights)).toEqual(["moving_mean", "moving_variance"]);
      bn.trainable = false;
      expect(short(model.trainableWeights)).toEqual(["kernel", "bias"]);
      expect(bn.weights.map((weight) => weight.trainable)).toEqual(
        flavor === "keras3" ? [false, false, false, false] : [true, true, false, false],
      );
      model.trainable = false;
      expect(model.layers.map((layer) => layer.trainable)).toEqual([false, false]);
      expect(model.trainableWeights).toEqual([]);
      expect(short(model.weights)).toEqual(["kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance"]);
      model.trainable = true;
      expect(short(model.trainableWeights)).toEqual(["kernel", "bias", "gamma", "beta"]);
    }
  });

  it("layers by name and place", () => {
    const model = small();
    expect(model.getLayer("dense_1")).toBe(model.getLayer(2));
    expect(failure(() => model.getLayer("nope"))).toMatchObject({ code: "ERR_WEIGHTS_ARGUMENT" });
  });

  it("shared layers are listed once and hold their values once", () => {
    clearSession();
    const shared = layers.dense(3);
    const input = layers.input([3]);
    const model = functional({ inputs: input, outputs: shared.apply(shared.apply(input)) });
    expect(model.weights).toHaveLength(2);
    expect(model.countParams()).toBe(12);
  });

  it("part of a graph is a model of its own on the same weights", () => {
    for (const flavor of ["keras3", "keras2"] as const) {
      clearSession();
      const input = layers.input([4], { name: "i" });
      const a = layers.dense(3, { name: "a" }).apply(input);
      const b = layers.dense(2, { name: "b" }).apply(a);
      const whole = functional({ inputs: input, outputs: b, flavor });
      const part = functional({ inputs: a, outputs: b, flavor });
      expect(part.layers.map(({ name }) => name)).toEqual([flavor === "keras3" ? "keras_tensorCLONE" : "input_1", "b"]);
      expect(part.weights).toEqual(whole.getLayer("b").weights);
      expect(part.outputShape).toEqual([null, 2]);
      const front = functional({ inputs: input, outputs: a, flavor });
      expect(front.layers.map(({ name }) => name)).toEqual(["i", "a"]);
    }
  });

  it("own weights of a custom layer come from addWeight", () => {
    class Scaled extends Layer {
      static override readonly className = "Scaled";
      scale = this.addWeight({ name: "scale", shape: [2], initializer: 3 });
      frozen = this.addWeight({ name: "frozen", trainable: false });
    }
    const layer = new Scaled({ name: "s" });
    expect(layer.weights.map(({ path, trainable }) => [path, trainable])).toEqual([
      ["s/scale", true],
      ["s/frozen", false],
    ]);
    expect([...(layer.getWeights()[0]!.data as Float32Array)]).toEqual([3, 3]);
  });

  it("a layer of one Keras does not go into a model of the other", () => {
    const layer = layers.dense(2, { flavor: "keras2" });
    expect(failure(() => sequential([layers.input([2]), layer]))).toMatchObject({ code: "ERR_WEIGHTS_ARGUMENT" });
  });

  it("automatic names count by flavour and kind", () => {
    clearSession();
    const three = sequential([layers.input([2]), layers.dense(2), layers.dense(2)]);
    const two = sequential([layers.input([2]), layers.dense(2), layers.dense(2)], { flavor: "keras2" });
    expect(three.layers.map(({ name }) => name)).toEqual(["dense", "dense_1"]);
    expect(two.layers.map(({ name }) => name)).toEqual(["dense", "dense_1"]);
    expect([three.name, two.name]).toEqual(["sequential", "sequential"]);
    expect(two.weights[0]!.name).toBe("dense/kernel:0");
    expect(layers.conv2dTranspose(1, 1).name).toBe("conv2d_transpose");
    expect(layers.prelu().name).toBe("p_re_lu");
  });
});

suite("summary", () => {
  it("reads as Keras 3's", () => {
    expect(small().summary()).toBe(
      [
        'Model: "sequential"',
        "┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┳━━━━━━━━━━━━━━┳━━━━━━━━━┓",
        "┃ Layer (type)                             ┃ Output Shape ┃ Param # ┃",
        "┡━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━╇━━━━━━━━━━━━━━╇━━━━━━━━━┩",
        "│ dense (Dense)                            │ (None, 2)    │       8 │",
        "├──────────────────────────────────────────┼──────────────┼─────────┤",
        "│ batch_normalization (BatchNormalization) │ (None, 2)    │       8 │",
        "├──────────────────────────────────────────┼──────────────┼─────────┤",
        "│ dense_1 (Dense)                          │ (None, 1)    │       3 │",
        "└──────────────────────────────────────────┴──────────────┴─────────┘",
        " Total params: 19 (76.00 B)",
        " Trainable params: 15 (60.00 B)",
        " Non-trainable params: 4 (16.00 B)",
      ].join("\n"),
    );
  });

  it("says where inputs come from, what is nested and what is trainable", () => {
    clearSession();
    const inner = sequential([layers.input([2]), layers.dense(2, { trainable: false })], {
      name: "inner",
      flavor: "keras2",
    });
    const [a, b] = [layers.input([2], { name: "a" }), layers.input([2], { name: "b" })];
    const sum = layers.add().apply([inner.apply(a), b]);
    const text = functional({ inputs: [a, b], outputs: sum, flavor: "keras2" }).summary({
      expandNested: true,
      showTrainable: true,
    });
    expect(text).toContain("Connected to");
    expect(text).toContain("inner[0][0], b[0][0]");
    expect(text).toMatch(/└ dense \(Dense\).* 6 .*N/);
    expect(text).toContain("Non-trainable params: 6 (24.00 B)");
  });
});
