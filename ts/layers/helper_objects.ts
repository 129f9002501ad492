import type { Json, JsonObject } from "../config/json.ts";

/**
 * Objects that Keras 2 layers keep beside weights and sub-layers: lists and dictionaries in attributes, which TensorFlow
 * tracks and writes into checkpoints as empty nodes. Nothing depends on them but the bytes of the file.
 */
export interface HelperObjects {
  /** Attributes set before the weights are made. */
  readonly first?: readonly string[];
  /** Attributes set right after a weight of this name. */
  readonly after?: Readonly<Record<string, string>>;
  /** Attributes set at the end. */
  readonly last?: readonly string[];
}

const none: HelperObjects = {};
const axis: HelperObjects = { first: ["axis"] };
const recurrent: HelperObjects = { last: ["state_spec"] };
const projection: HelperObjects = { first: ["partial_output_shape", "full_output_shape"] };
const normalization: HelperObjects = {
  first: ["_keep_axis", "_reduce_axis", "_reduce_axis_mask", "_broadcast_shape"],
};

const byClass: Readonly<Record<string, HelperObjects | ((config: JsonObject) => HelperObjects)>> = {
  BatchNormalization: ({ renorm }) => (renorm === true ? { first: ["renorm_clipping", "axis"] } : axis),
  LayerNormalization: axis,
  Normalization: normalization,
  SpectralNormalization: { after: { kernel: "kernel_shape" } },
  EinsumDense: projection,
  SimpleRNN: recurrent,
  LSTM: recurrent,
  GRU: recurrent,
  RNN: recurrent,
  ConvLSTM1D: recurrent,
  ConvLSTM2D: recurrent,
  ConvLSTM3D: recurrent,
  MultiHeadAttention: ({ attention_axes: axes }) => (isList(axes) ? { first: ["_attention_axes"] } : none),
  LSTMCell: { first: ["state_size"] },
  PReLU: ({ shared_axes: shared }) => (isList(shared) ? { first: ["shared_axes"] } : none),
  Softmax: ({ axis: axes }) => (isList(axes) ? axis : none),
  LocallyConnected1D: ({ implementation }) => (implementation === 3 ? { first: ["kernel_idxs"] } : none),
  LocallyConnected2D: ({ implementation }) => (implementation === 3 ? { first: ["kernel_idxs"] } : none),
  Discretization: { first: ["input_bin_boundaries", "bin_boundaries"] },
};

function isList(value: Json | undefined): boolean {
  return Array.isArray(value);
}

/** The helper objects of a Keras 2 layer. */
export function helperObjects(className: string, config: () => JsonObject): HelperObjects {
  const found = Object.hasOwn(byClass, className) ? byClass[className] : undefined;
  if (found === undefined) return none;
  return typeof found === "function" ? found(config()) : found;
}

/** Attributes under which layers of both Kerases keep a weight besides its name. */
export const weightAliases: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  Normalization: { mean: "adapt_mean", variance: "adapt_variance" },
};
