import type { DTypePolicy } from "../model/dtype_policy.ts";
import { parseInitializer, type Initializer } from "../initializers.ts";
import { fail } from "../model/failure.ts";
import { knownDim, shapeText, withDim, type Shape } from "../model/shape.ts";
import { defineLayer, weight, type WeightSpec } from "./definition.ts";
import {
  blockSize,
  embeddingKernel,
  kernelWeights,
  matrixKernel,
  withAlpha,
  type KernelConfig,
} from "./quantization.ts";
import {
  activation,
  anything,
  flag,
  initializer,
  json,
  modifier,
  nullable,
  number,
  omitNull,
  only,
  text,
} from "./fields.ts";

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
    kernel_constraint: modifier("constraints"),
    bias_constraint: modifier("constraints"),
    lora_rank: only("keras3", omitNull("keras3", nullable(number()))),
    lora_alpha: only("keras3", omitNull("keras3", nullable(number()))),
    quantization_config: only("keras3", anything()),
  },
  complete: withAlpha,
  kernel: ({ config, input }) => matrixKernel("kernel", [knownDim(input, -1), config.units], config.kernel_initializer),
  variables: ({ config, input, policy }) =>
    kernelWeights(
      policy,
      config,
      matrixKernel("kernel", [knownDim(input, -1), config.units], config.kernel_initializer),
      [config.use_bias && weight("bias", [config.units], config.bias_initializer)],
    ),
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
    activity_regularizer: modifier(),
    embeddings_constraint: modifier("constraints"),
    mask_zero: flag(false),
    input_length: only("keras2", anything()),
    lora_rank: only("keras3", omitNull("keras3", nullable(number()))),
    lora_alpha: only("keras3", omitNull("keras3", nullable(number()))),
    quantization_config: only("keras3", anything()),
  },
  // Keras 2 takes any length for a first layer that says none.
  inputShape: ({ input_length: length }, flavor) => {
    if (flavor === "keras3") return undefined;
    return Array.isArray(length) ? (length as Shape) : [typeof length === "number" ? length : null];
  },
  complete: withAlpha,
  kernel: ({ config }) => embeddingKernel([config.input_dim, config.output_dim], config.embeddings_initializer),
  variables: ({ config, policy }) =>
    kernelWeights(
      policy,
      config,
      embeddingKernel([config.input_dim, config.output_dim], config.embeddings_initializer),
      [],
    ),
  outputShape: ({ config, input }) => [...input, config.output_dim],
});

/** `Masking`: marks steps that equal a value. */
export const masking = defineLayer({
  className: "Masking",
  builtAtOnce: true,
  config: { mask_value: number(0) },
  args: ["mask_value"],
});

/** `Identity`. */
export const identity = defineLayer({ className: "Identity", builtAtOnce: true, config: {} });

/** `Activation`: a function by its name. */
export const activationLayer = defineLayer({
  className: "Activation",
  builtAtOnce: true,
  args: ["activation"],
  config: { activation: activation() },
});

/** `ReLU`. */
export const relu = defineLayer({
  className: "ReLU",
  builtAtOnce: true,
  args: ["max_value", "negative_slope", "threshold"],
  config: { max_value: nullable(number()), negative_slope: number(0), threshold: number(0) },
});

/** `LeakyReLU`: the slope is `negative_slope` in Keras 3 and `alpha` in Keras 2. */
export const leakyRelu = defineLayer({
  className: "LeakyReLU",
  builtAtOnce: true,
  config: { negative_slope: only("keras3", number(0.3)), alpha: only("keras2", number(0.3)) },
});

/** `ELU`. */
export const elu = defineLayer({ className: "ELU", builtAtOnce: true, args: ["alpha"], config: { alpha: number(1) } });

/** `Softmax`. */
export const softmax = defineLayer({
  className: "Softmax",
  builtAtOnce: true,
  args: ["axis"],
  config: { axis: json<number | readonly number[]>(-1) },
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
    alpha_constraint: modifier("constraints"),
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
    function: anything(),
    output_shape: anything(),
    mask: anything(),
    arguments: anything({}),
    function_type: only("keras2", text("lambda")),
    module: only("keras2", anything()),
    output_shape_type: only("keras2", text("raw")),
    output_shape_module: only("keras2", anything()),
  },
  args: ["function"],
});

/** `ReversibleEmbedding` (Keras 3): an embedding that also maps back, with the same matrix unless untied. */
export const reversibleEmbedding = defineLayer({
  className: "ReversibleEmbedding",
  flavors: ["keras3"],
  args: ["input_dim", "output_dim"],
  config: {
    input_dim: number(),
    output_dim: number(),
    tie_weights: flag(true),
    embeddings_initializer: initializer("uniform"),
    embeddings_regularizer: modifier(),
    activity_regularizer: modifier(),
    embeddings_constraint: modifier("constraints"),
    mask_zero: flag(false),
    reverse_dtype: anything(),
    logit_soft_cap: anything(),
    lora_rank: omitNull("keras3", nullable(number())),
    lora_alpha: omitNull("keras3", nullable(number())),
    quantization_config: anything(),
  },
  complete: withAlpha,
  kernel: ({ config }) => embeddingKernel([config.input_dim, config.output_dim], config.embeddings_initializer),
  variables: ({ config, policy }) => {
    const kernel = embeddingKernel([config.input_dim, config.output_dim], config.embeddings_initializer);
    return kernelWeights(policy, config, kernel, config.tie_weights ? [] : reverseWeights(policy, config));
  },
  outputShape: ({ config, input, keywords }) =>
    keywords["reverse"] === true ? withDim(input, -1, config.input_dim) : [...input, config.output_dim],
});

/** The second matrix of an untied embedding; quantized like the first. */
function reverseWeights(
  policy: DTypePolicy,
  config: KernelConfig & { input_dim: number; output_dim: number; embeddings_initializer: Initializer },
): WeightSpec[] {
  const { input_dim: rows, output_dim: columns } = config;
  if (policy.quantization !== "int8" && policy.quantization !== "int4") {
    return [weight("reverse_embeddings", [columns, rows], config.embeddings_initializer)];
  }
  const zeros = parseInitializer("zeros");
  const packed = policy.quantization === "int4" ? Math.ceil(columns / 2) : columns;
  const block = policy.quantization === "int4" ? blockSize(policy, config) : undefined;
  const scale = block === undefined ? [rows] : [Math.ceil(columns / block), rows];
  return [
    weight("reverse_embeddings", [packed, rows], zeros, { dtype: "int8", trainable: false }),
    weight("reverse_embeddings_scale", scale, parseInitializer("ones"), { trainable: false }),
    ...(block === undefined ? [] : [weight("reverse_embeddings_zero", scale, zeros, { trainable: false })]),
  ];
}

/** `RandomFourierFeatures` (Keras 2). */
export const randomFourierFeatures = defineLayer({
  className: "RandomFourierFeatures",
  flavors: ["keras2"],
  trainable: false,
  args: ["output_dim"],
  config: { output_dim: number(), kernel_initializer: anything("gaussian"), scale: json<number | null>(null) },
  variables: ({ config, input }) => {
    const features = knownDim(input, -1);
    const fixed = { dtype: "float32", trainable: false } as const;
    const scale = config.scale ?? (config.kernel_initializer === "gaussian" ? Math.sqrt(features / 2) : 1);
    return [
      weight("unscaled_kernel", [features, config.output_dim], parseInitializer("random_normal"), fixed),
      weight(
        "bias",
        [config.output_dim],
        { className: "RandomUniform", config: { seed: null, minval: 0, maxval: 2 * Math.PI } },
        fixed,
      ),
      weight("kernel_scale", [1], parseInitializer(scale), { dtype: "float32" }),
    ];
  },
  outputShape: ({ config, input }) => withDim(input, -1, config.output_dim),
});
