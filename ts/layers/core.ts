import { fail } from "../model/failure.ts";
import { knownDim, shapeText, withDim } from "../model/shape.ts";
import { defineLayer, weight } from "./definition.ts";
import { activation, flag, initializer, json, modifier, nullable, number, omitNull, only, text } from "./fields.ts";

/** `Dense`: a kernel over the last axis. */
export const dense = defineLayer({
  className: "Dense",
  args: ["units"],
  config: {
    units: number(),
    activation: activation(),
    use_bias: flag(true),
    kernel_initializer: initializer("glorot_uniform"),
    bias_initializer: initializer("zeros"),
    kernel_regularizer: modifier(),
    bias_regularizer: modifier(),
    activity_regularizer: omitNull("keras3", modifier()),
    kernel_constraint: modifier(),
    bias_constraint: modifier(),
    lora_rank: only("keras3", omitNull("keras3", nullable(number()))),
    lora_alpha: only("keras3", omitNull("keras3", nullable(number()))),
    quantization_config: only("keras3", json(null)),
  },
  variables: ({ config, input }) => [
    weight("kernel", [knownDim(input, -1), config.units], config.kernel_initializer),
    config.use_bias && weight("bias", [config.units], config.bias_initializer),
  ],
  outputShape: ({ config, input }) => withDim(input, -1, config.units),
});

/** `Embedding`: a row for each index. */
export const embedding = defineLayer({
  className: "Embedding",
  args: ["input_dim", "output_dim"],
  config: {
    input_dim: number(),
    output_dim: number(),
    embeddings_initializer: initializer("uniform"),
    embeddings_regularizer: modifier(),
    activity_regularizer: omitNull("keras3", modifier()),
    embeddings_constraint: modifier(),
    mask_zero: flag(false),
    input_length: only("keras2", json(null)),
    lora_rank: only("keras3", omitNull("keras3", nullable(number()))),
    lora_alpha: only("keras3", omitNull("keras3", nullable(number()))),
    quantization_config: only("keras3", json(null)),
  },
  variables: ({ config }) => [
    weight("embeddings", [config.input_dim, config.output_dim], config.embeddings_initializer),
  ],
  outputShape: ({ config, input }) => [...input, config.output_dim],
});

/** `Masking`: marks steps that equal a value. */
export const masking = defineLayer({
  className: "Masking",
  config: { mask_value: number(0) },
  args: ["mask_value"],
});

/** `Identity`. */
export const identity = defineLayer({ className: "Identity", config: {} });

/** `Activation`: a function by its name. */
export const activationLayer = defineLayer({
  className: "Activation",
  args: ["activation"],
  config: { activation: activation() },
});

/** `ReLU`. */
export const relu = defineLayer({
  className: "ReLU",
  args: ["max_value", "negative_slope", "threshold"],
  config: { max_value: nullable(number()), negative_slope: number(0), threshold: number(0) },
});

/** `LeakyReLU`: the slope is `negative_slope` in Keras 3 and `alpha` in Keras 2. */
export const leakyRelu = defineLayer({
  className: "LeakyReLU",
  config: { negative_slope: only("keras3", number(0.3)), alpha: only("keras2", number(0.3)) },
  complete: (config) => ({ ...config }),
});

/** `ELU`. */
export const elu = defineLayer({ className: "ELU", args: ["alpha"], config: { alpha: number(1) } });

/** `Softmax`. */
export const softmax = defineLayer({
  className: "Softmax",
  args: ["axis"],
  config: { axis: json<number | readonly number[]>(-1), robust_masking: only("keras2", flag(false)) },
});

/** `ThresholdedReLU` (Keras 2). */
export const thresholdedRelu = defineLayer({
  className: "ThresholdedReLU",
  flavors: ["keras2"],
  args: ["theta"],
  config: { theta: number(1) },
});

/** `PReLU`: a slope for each element that no shared axis joins. */
export const prelu = defineLayer({
  className: "PReLU",
  config: {
    alpha_initializer: initializer("zeros"),
    alpha_regularizer: modifier(),
    alpha_constraint: modifier(),
    shared_axes: nullable(json<readonly number[]>()),
  },
  variables: ({ config, input }) => {
    const shape = input.slice(1).map((dim, i) => {
      if (config.shared_axes?.includes(i + 1)) return 1;
      return dim ?? fail("ERR_WEIGHTS_UNBUILT", `PReLU needs a known input shape, not ${shapeText(input)}`);
    });
    return [weight("alpha", shape, config.alpha_initializer)];
  },
});

/** `Lambda`: Python code, which is kept as data and never run. */
export const lambda = defineLayer({
  className: "Lambda",
  config: {
    function: json(null),
    output_shape: json(null),
    mask: json(null),
    arguments: json({}),
    function_type: only("keras2", text("lambda")),
    module: only("keras2", json(null)),
    output_shape_type: only("keras2", text("raw")),
    output_shape_module: only("keras2", json(null)),
  },
  args: ["function"],
});
