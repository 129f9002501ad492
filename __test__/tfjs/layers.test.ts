// Every layer and option that TensorFlow.js shares with Keras: the same numbers, or a refusal. Nothing in between.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { modelFromConfig } from "../../ts/config/read.ts";
import { buildModel } from "../../ts/tfjs/build.ts";
import { pairWeights } from "../../ts/tfjs/pairs.ts";
import { translateConfig } from "../../ts/tfjs/translate.ts";
import { handOver } from "../../ts/tfjs/weights.ts";
import { tf } from "./predictions.ts";

interface Packed {
  readonly shape: number[];
  readonly dtype: "float32" | "int32";
  readonly data: string;
}

interface Case {
  readonly config: object;
  readonly weights: readonly Packed[];
  readonly inputs: readonly Packed[];
  readonly outputs: readonly Packed[];
}

function cases(keras: string): [string, Case][] {
  const path = new URL(`../fixtures/_tfjs_layers/${keras}.json`, import.meta.url);
  return Object.entries(JSON.parse(readFileSync(path, "utf8")) as Record<string, Case>);
}

function unpack({ data, dtype }: Packed): Float32Array | Int32Array {
  const bytes = Uint8Array.from(Buffer.from(data, "base64"));
  return dtype === "int32" ? new Int32Array(bytes.buffer) : new Float32Array(bytes.buffer);
}

/** What must be refused, and a word of the reason. */
const refused: Readonly<Record<string, RegExp>> = {
  dense_exponential: /no activation "exponential"/u,
  dense_leaky_relu: /no activation "leaky_relu"/u,
  "keras3 dense_hard_sigmoid": /relu6/u,
  "keras3 LSTM_hard_sigmoid": /relu6/u,
  conv1d_causal: /no other padding/u,
  conv2d_groups: /no other groups/u,
  conv2d_transpose_output_padding: /no other output_padding/u,
  depthwise_dilated: /no other dilation_rate/u,
  GlobalMaxPooling2D_keepdims: /no other keepdims/u,
  GlobalAveragePooling2D_keepdims: /no other keepdims/u,
  GlobalMaxPooling1D_first: /no other data_format/u,
  GlobalAveragePooling1D_first: /no other data_format/u,
  upsampling_bilinear: /no other interpolation/u,
  relu_all: /together/u,
  elu_alpha: /no other alpha/u,
  rescaling_list: /one number/u,
  bidirectional_other_backward: /backward layer differs/u,
  masked_average: /masked steps/u,
  masked_conv: /a mask that Keras does not/u,
  mask_and_none: /a mask that Keras does not/u,
  masked_add: /merging/u,
  batch_normalization_axis_1: /last axis alone/u,
  softmax_axis_1: /last axis alone/u,
  subtract: /no such layer/u,
  operation: /an operation/u,
  operation_add: /an operation/u,
};

describe.each([
  ["keras2", "k2"],
  ["keras3", "k3"],
] as const)("layers of %s", (flavor, keras) => {
  it.each(cases(keras))("%s", async (name, { config, weights, inputs, outputs }) => {
    const reason = refused[`${flavor} ${name}`] ?? refused[name];
    const translation = translateConfig(config);
    expect(translation.flavor).toBe(flavor);
    if (reason !== undefined) {
      // Some configs do not tell the rank of an input: then it is the built model that is refused.
      if (translation.refused.length === 0) await expect(buildModel(tf, translation.topology)).rejects.toThrow(reason);
      else expect(translation.refused.map((one) => one.reason).join("\n")).toMatch(reason);
      return;
    }
    expect(translation.refused).toEqual([]);
    const twin = modelFromConfig(config);
    twin.setWeights(weights.map((one) => unpack(one)));
    const model = (await buildModel(tf, translation.topology)) as unknown as tf.LayersModel;
    handOver({ keras: twin, pairs: pairWeights(twin, model) });
    const found = tf.tidy(() => {
      const tensors = inputs.map((one) => tf.tensor(unpack(one), one.shape, one.dtype));
      const result = model.predict(tensors.length === 1 ? tensors[0]! : tensors);
      return (Array.isArray(result) ? result : [result]).map((one) => ({
        shape: [...one.shape],
        values: Array.from(one.dataSync()),
      }));
    });
    expect(found.map(({ shape }) => shape)).toEqual(outputs.map(({ shape }) => shape));
    found.forEach(({ values }, index) => {
      const wanted = unpack(outputs[index]!);
      // NaN must not hide behind a comparison.
      const worst = values.reduce((most, value, at) => {
        const difference = Math.abs(value - wanted[at]!);
        return difference <= most ? most : difference;
      }, 0);
      expect(worst).toBeLessThanOrEqual(1e-5);
    });
    model.dispose();
  });
});
