// One row a layer: which options TensorFlow.js takes over, and which it has not, so that only one value will do.
import { isObject, type Json, type JsonObject } from "../config/json.ts";
import type { Flavor } from "../model/flavor.ts";
import { gruCellResetAfter, gruResetAfter } from "./gru.ts";

/** What becomes of one option. */
export type OptionRule =
  /** Handed over as it is. */
  | "keep"
  /** An activation by name. */
  | "activation"
  /** An initializer, a regularizer or a constraint. */
  | "training"
  /** A regularizer of outputs. */
  | "activity"
  /** Means nothing for predictions, or nothing there. */
  | "drop"
  /** Not known there: only these values mean the same as leaving it out. */
  | { readonly only: readonly Json[] }
  /** Known there, but not all values. */
  | { readonly keepOnly: readonly Json[] };

/** How a layer is rewritten. */
export interface LayerRow {
  readonly options: Readonly<Record<string, OptionRule>>;
  /** Another class, or other options, that compute the same there. Sees the config as Keras wrote it. */
  readonly rewrite?: (config: JsonObject, flavor: Flavor) => { className: string; config: JsonObject } | string;
}

const only = (...values: Json[]): OptionRule => ({ only: values });
const keep = (...names: string[]): Record<string, OptionRule> =>
  Object.fromEntries(names.map((name) => [name, "keep"]));

/** Options of a weight. */
function weight(name: string): Record<string, OptionRule> {
  return {
    [`${name}_initializer`]: "training",
    [`${name}_regularizer`]: "training",
    [`${name}_constraint`]: "training",
  };
}

/** Options that any layer may have. */
export const commonOptions: Readonly<Record<string, OptionRule>> = {
  ...keep("name", "trainable", "batch_input_shape"),
  dtype: "drop",
  batch_shape: "drop",
  build_config: "drop",
  compile_config: "drop",
  quantization_config: "drop",
  // A layer that has one cannot be called there.
  activity_regularizer: "activity",
  autocast: "drop",
};

const lastAxis = only("channels_last", null);

const convolution: LayerRow["options"] = {
  ...keep("filters", "kernel_size", "strides", "padding", "data_format", "dilation_rate", "use_bias"),
  activation: "activation",
  groups: only(1),
  ...weight("kernel"),
  ...weight("bias"),
};

const transposed: LayerRow["options"] = {
  ...convolution,
  dilation_rate: only(1, [1, 1], [1, 1, 1]),
  output_padding: only(null),
};

const recurrentCell: LayerRow["options"] = {
  ...keep("units", "use_bias", "dropout", "recurrent_dropout"),
  activation: "activation",
  ...weight("kernel"),
  ...weight("recurrent"),
  ...weight("bias"),
  seed: "drop",
};

const recurrent: LayerRow["options"] = {
  ...keep("return_sequences", "return_state", "go_backwards", "stateful"),
  unroll: "drop",
  time_major: only(false),
  // Of no effect without a mask; see masks.ts.
  zero_output_for_mask: "drop",
  use_cudnn: "drop",
  implementation: "drop",
  input_dim: "drop",
  input_length: "drop",
  cell: "drop",
};

/** Keras 2 files from before there was the option mean false by its absence. */
function rewriteGru(plain: string, resetAfter: string): NonNullable<LayerRow["rewrite"]> {
  return (config, flavor) => {
    const after = config["reset_after"] ?? flavor === "keras3";
    return { className: after === true ? resetAfter : plain, config: { ...config, reset_after: after } };
  };
}

/** The states of a stack come in another order there. */
function rewriteRnn(config: JsonObject): { className: string; config: JsonObject } | string {
  const { cell = null } = config;
  const stacked = isObject(cell) && cell["class_name"] === "StackedRNNCells";
  if (stacked && config["return_state"] === true) return "TensorFlow.js gives the states of stacked cells in reverse";
  return { className: "RNN", config };
}

const pooling: LayerRow["options"] = keep("pool_size", "strides", "padding", "data_format");
const merging: LayerRow = { options: {} };
const noise = (name: string): LayerRow => ({ options: { ...keep(name), seed: "drop", noise_shape: "keep" } });

/** Pooling over one axis: TensorFlow.js has no other order of axes for it. */
const pooling1d: LayerRow = {
  options: { ...keep("strides", "padding"), pool_size: "keep", data_format: lastAxis },
};
const globalPooling1d: LayerRow = { options: { data_format: lastAxis, keepdims: only(false) } };
const globalPooling2d: LayerRow = { options: { ...keep("data_format"), keepdims: only(false) } };

/** Whole feature maps are dropped: a Dropout whose noise is the same over the other axes. */
function spatialDropout(axes: number): LayerRow {
  return {
    options: { rate: "keep", data_format: "drop", noise_shape: "keep", seed: "drop" },
    rewrite: (config) => {
      const ones = Array.from({ length: axes }, () => 1);
      const first = config["data_format"] === "channels_first";
      const shape = first ? [null, null, ...ones] : [null, ...ones, null];
      return { className: "Dropout", config: { ...config, noise_shape: shape } };
    },
  };
}

/** Keras' ReLU can be bounded, leaky and shifted; TensorFlow.js has a class for each, and none for a mixture. */
function rewriteRelu(config: JsonObject): { className: string; config: JsonObject } | string {
  const { max_value: max = null, negative_slope: slope = 0, threshold = 0, ...rest } = config;
  const isZero = (value: Json): boolean => value === 0 || value === null;
  if (isZero(slope) && isZero(threshold)) return { className: "ReLU", config: { ...rest, max_value: max } };
  if (max === null && isZero(threshold)) return { className: "LeakyReLU", config: { ...rest, alpha: slope } };
  if (max === null && isZero(slope)) return { className: "ThresholdedReLU", config: { ...rest, theta: threshold } };
  return "TensorFlow.js has no ReLU with max_value, negative_slope and threshold together";
}

/** Every class that TensorFlow.js can be given. */
export const layerTable: ReadonlyMap<string, LayerRow> = new Map<string, LayerRow>([
  ["InputLayer", { options: { ...keep("sparse"), optional: only(false), ragged: only(false) } }],
  [
    "Dense",
    { options: { ...keep("units", "use_bias"), activation: "activation", ...weight("kernel"), ...weight("bias") } },
  ],
  ["Activation", { options: { activation: "activation" } }],
  ["Flatten", { options: keep("data_format") }],
  ["Reshape", { options: keep("target_shape") }],
  ["Permute", { options: keep("dims") }],
  ["RepeatVector", { options: keep("n") }],
  ["Masking", { options: keep("mask_value") }],
  [
    "Embedding",
    {
      options: {
        ...keep("input_dim", "output_dim", "mask_zero", "input_length"),
        sparse: "drop",
        ...weight("embeddings"),
      },
    },
  ],
  ["Conv1D", { options: { ...convolution, data_format: lastAxis, padding: { keepOnly: ["valid", "same"] } } }],
  ["Conv2D", { options: convolution }],
  ["Conv3D", { options: convolution }],
  ["Conv2DTranspose", { options: transposed }],
  ["Conv3DTranspose", { options: transposed }],
  [
    "DepthwiseConv2D",
    {
      options: {
        ...convolution,
        ...keep("depth_multiplier"),
        ...weight("depthwise"),
        // TensorFlow.js takes a dilation and forgets it.
        dilation_rate: only(1, [1, 1]),
        filters: "drop",
        kernel_initializer: "drop",
        kernel_regularizer: "drop",
        kernel_constraint: "drop",
      },
    },
  ],
  [
    "SeparableConv2D",
    {
      options: {
        ...convolution,
        ...keep("depth_multiplier"),
        ...weight("depthwise"),
        ...weight("pointwise"),
        // Its bias is added along the wrong axis there.
        data_format: lastAxis,
        // It throws when these are given, and both Keras write them.
        kernel_initializer: "drop",
        kernel_regularizer: "drop",
        kernel_constraint: "drop",
      },
    },
  ],
  ["MaxPooling1D", pooling1d],
  ["AveragePooling1D", pooling1d],
  ["MaxPooling2D", { options: pooling }],
  ["AveragePooling2D", { options: pooling }],
  ["MaxPooling3D", { options: pooling }],
  ["AveragePooling3D", { options: pooling }],
  ["GlobalMaxPooling1D", globalPooling1d],
  ["GlobalAveragePooling1D", globalPooling1d],
  ["GlobalMaxPooling2D", globalPooling2d],
  ["GlobalAveragePooling2D", globalPooling2d],
  ["ZeroPadding2D", { options: keep("padding", "data_format") }],
  ["Cropping2D", { options: keep("cropping", "data_format") }],
  // Its bilinear interpolation places the pixels otherwise.
  ["UpSampling2D", { options: { ...keep("size", "data_format"), interpolation: only("nearest") } }],
  [
    "BatchNormalization",
    {
      options: {
        ...keep("momentum", "epsilon", "center", "scale", "axis"),
        ...weight("beta"),
        ...weight("gamma"),
        moving_mean_initializer: "training",
        moving_variance_initializer: "training",
        renorm: only(false),
        renorm_clipping: "drop",
        renorm_momentum: "drop",
        synchronized: "drop",
        fused: "drop",
        virtual_batch_size: only(null),
        adjustment: only(null),
      },
      rewrite: (config) => {
        const { axis = -1 } = config;
        if (!Array.isArray(axis)) return { className: "BatchNormalization", config };
        if (axis.length !== 1) return "TensorFlow.js normalizes over one axis only";
        return { className: "BatchNormalization", config: { ...config, axis: axis[0] as Json } };
      },
    },
  ],
  [
    "LayerNormalization",
    {
      options: {
        ...keep("axis", "epsilon", "center", "scale"),
        ...weight("beta"),
        ...weight("gamma"),
        rms_scaling: only(false),
      },
    },
  ],
  ["Add", merging],
  ["Multiply", merging],
  ["Average", merging],
  ["Maximum", merging],
  ["Minimum", merging],
  ["Concatenate", { options: keep("axis") }],
  ["Dot", { options: keep("axes", "normalize") }],
  ["Dropout", noise("rate")],
  ["AlphaDropout", noise("rate")],
  ["GaussianDropout", noise("rate")],
  ["GaussianNoise", noise("stddev")],
  ["SpatialDropout1D", { options: { rate: "keep", noise_shape: "drop", seed: "drop" } }],
  ["SpatialDropout2D", spatialDropout(2)],
  ["SpatialDropout3D", spatialDropout(3)],
  ["ReLU", { options: keep("max_value", "alpha", "theta"), rewrite: rewriteRelu }],
  [
    "LeakyReLU",
    {
      options: keep("alpha"),
      // Left under Keras 3's name it is ignored, and the slope is 0.3 whatever the model says.
      rewrite: ({ negative_slope: slope, alpha, ...rest }) => ({
        className: "LeakyReLU",
        config: { ...rest, alpha: slope ?? alpha ?? 0.3 },
      }),
    },
  ],
  ["PReLU", { options: { ...keep("shared_axes"), ...weight("alpha") } }],
  ["ELU", { options: { alpha: only(1, null) } }],
  ["ThresholdedReLU", { options: keep("theta") }],
  ["Softmax", { options: keep("axis") }],
  ["SimpleRNN", { options: { ...recurrent, ...recurrentCell } }],
  [
    "LSTM",
    { options: { ...recurrent, ...recurrentCell, ...keep("unit_forget_bias"), recurrent_activation: "activation" } },
  ],
  [
    "GRU",
    {
      options: { ...recurrent, ...recurrentCell, recurrent_activation: "activation", reset_after: "keep" },
      rewrite: rewriteGru("GRU", gruResetAfter),
    },
  ],
  // Cells are translated where they stand; see translate.ts.
  ["RNN", { options: { ...recurrent }, rewrite: rewriteRnn }],
  ["StackedRNNCells", { options: { cells: "drop" } }],
  ["SimpleRNNCell", { options: recurrentCell }],
  [
    "LSTMCell",
    {
      options: {
        ...recurrentCell,
        ...keep("unit_forget_bias"),
        recurrent_activation: "activation",
        implementation: "drop",
      },
    },
  ],
  [
    "GRUCell",
    {
      options: {
        ...recurrentCell,
        ...keep("reset_after"),
        recurrent_activation: "activation",
        implementation: "drop",
      },
      rewrite: rewriteGru("GRUCell", gruCellResetAfter),
    },
  ],
  [
    "ConvLSTM2D",
    {
      options: {
        ...recurrent,
        ...recurrentCell,
        ...convolution,
        ...keep("unit_forget_bias"),
        recurrent_activation: "activation",
        data_format: lastAxis,
      },
    },
  ],
  ["Bidirectional", { options: { ...keep("merge_mode"), layer: "drop", backward_layer: "drop" } }],
  ["TimeDistributed", { options: { layer: "drop" } }],
  [
    "Rescaling",
    {
      options: keep("scale", "offset"),
      rewrite: (config) =>
        typeof config["scale"] === "number" && typeof (config["offset"] ?? 0) === "number"
          ? { className: "Rescaling", config }
          : "TensorFlow.js rescales by one number only",
    },
  ],
]);
