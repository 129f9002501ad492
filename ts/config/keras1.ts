import { fail } from "../model/failure.ts";
import { isList, isObject, textAt, type Json, type JsonObject } from "./json.ts";

// Keras 1's words and what Keras 2 calls them. Keras 2 itself read these names through its "legacy interfaces".
const kernelWords = {
  init: "kernel_initializer",
  W_regularizer: "kernel_regularizer",
  b_regularizer: "bias_regularizer",
  W_constraint: "kernel_constraint",
  b_constraint: "bias_constraint",
  bias: "use_bias",
} as const;

const windowWords = { border_mode: "padding", dim_ordering: "data_format" } as const;

const convolutionWords = {
  ...kernelWords,
  ...windowWords,
  nb_filter: "filters",
  subsample: "strides",
  subsample_length: "strides",
  filter_length: "kernel_size",
  atrous_rate: "dilation_rate",
  depthwise_init: "depthwise_initializer",
  pointwise_init: "pointwise_initializer",
} as const;

const recurrentWords = {
  ...kernelWords,
  output_dim: "units",
  inner_init: "recurrent_initializer",
  inner_activation: "recurrent_activation",
  U_regularizer: "recurrent_regularizer",
  U_constraint: "recurrent_constraint",
  dropout_W: "dropout",
  dropout_U: "recurrent_dropout",
} as const;

const poolingWords = { ...windowWords, pool_length: "pool_size", stride: "strides", length: "size" } as const;

interface Modern {
  /** Today's class name, when it is another. */
  readonly className?: string;
  /** Words that only Keras 1 used, and today's. */
  readonly words: Readonly<Record<string, string>>;
}

const convolution = (className: string): Modern => ({ className, words: convolutionWords });

const classes: Readonly<Record<string, Modern>> = {
  Dense: { words: { ...kernelWords, output_dim: "units" } },
  Convolution1D: convolution("Conv1D"),
  Convolution2D: convolution("Conv2D"),
  Convolution3D: convolution("Conv3D"),
  AtrousConvolution1D: convolution("Conv1D"),
  AtrousConvolution2D: convolution("Conv2D"),
  AtrousConv1D: convolution("Conv1D"),
  AtrousConv2D: convolution("Conv2D"),
  Deconvolution2D: convolution("Conv2DTranspose"),
  Deconvolution3D: convolution("Conv3DTranspose"),
  SeparableConvolution2D: convolution("SeparableConv2D"),
  Conv1D: { words: convolutionWords },
  Conv2D: { words: convolutionWords },
  Conv3D: { words: convolutionWords },
  LocallyConnected1D: { words: convolutionWords },
  LocallyConnected2D: { words: convolutionWords },
  ConvLSTM2D: { words: { ...recurrentWords, ...convolutionWords } },
  SimpleRNN: { words: recurrentWords },
  LSTM: { words: recurrentWords },
  GRU: { words: recurrentWords },
  Embedding: {
    words: {
      init: "embeddings_initializer",
      W_regularizer: "embeddings_regularizer",
      W_constraint: "embeddings_constraint",
    },
  },
  BatchNormalization: { words: { beta_init: "beta_initializer", gamma_init: "gamma_initializer" } },
  PReLU: { words: { init: "alpha_initializer" } },
  Dropout: { words: { p: "rate" } },
  GaussianDropout: { words: { p: "rate" } },
  SpatialDropout1D: { words: { p: "rate" } },
  SpatialDropout2D: { words: { p: "rate", dim_ordering: "data_format" } },
  SpatialDropout3D: { words: { p: "rate", dim_ordering: "data_format" } },
  GaussianNoise: { words: { sigma: "stddev" } },
};

const pooled = /^(?:Global)?(?:Max|Average)Pooling[123]D$|^(?:ZeroPadding|UpSampling|Cropping)[123]D$/;

const merges: Readonly<Record<string, string>> = {
  sum: "Add",
  mul: "Multiply",
  concat: "Concatenate",
  ave: "Average",
  max: "Maximum",
  dot: "Dot",
  cos: "Dot",
};

/** Kernel lengths that Keras 1 gave one by one. */
const kernelSides = [
  ["nb_row", "nb_col"],
  ["kernel_dim1", "kernel_dim2", "kernel_dim3"],
];

/** A layer entry in today's words, whatever Keras wrote it. What is modern already stays as it is. */
export function modernLayer(value: Json): JsonObject {
  if (!isObject(value))
    return fail("ERR_WEIGHTS_CONFIG", "a layer of a config is an object with class_name and config");
  const className = textAt(value, "class_name") ?? "";
  const config = value["config"];
  if (!isObject(config)) return value;
  if (className === "Merge") return modernMerge(value, config);
  if (className === "TimeDistributedDense") return modernTimeDistributed(value, config);
  const window: Modern = { words: poolingWords };
  const modern = classes[className] ?? (pooled.test(className) ? window : undefined);
  if (modern === undefined) return value;
  const renamed = rename(config, modern.words);
  const entries = withoutResetAfter(className, withForgetBias(renamed));
  if (entries === config && modern.className === undefined) return value;
  return { ...value, class_name: modern.className ?? className, config: entries };
}

function rename(config: JsonObject, words: Readonly<Record<string, string>>): JsonObject {
  const sides = kernelSides.find((names) => names.every((name) => name in config));
  const old = Object.keys(config).filter((key) => key in words && !((words[key] ?? key) in config));
  if (old.length === 0 && sides === undefined) return config;
  const entries: Record<string, Json> = {};
  for (const [key, value] of Object.entries(config)) {
    if (sides?.includes(key)) continue;
    const name = old.includes(key) ? (words[key] ?? key) : key;
    entries[name] = name === "data_format" ? dataFormat(value) : value;
  }
  if (sides !== undefined) entries["kernel_size"] = sides.map((name) => config[name] ?? 1);
  return entries;
}

function dataFormat(value: Json): Json {
  return value === "th" ? "channels_first" : value === "tf" || value === "default" ? "channels_last" : value;
}

function withForgetBias(config: JsonObject): JsonObject {
  const start = config["forget_bias_init"];
  if (start === undefined) return config;
  return { ...config, unit_forget_bias: start === "one" || start === "ones" };
}

/** Keras wrote no `reset_after` while its GRU could not do it: there the entry's absence means no. */
function withoutResetAfter(className: string, config: JsonObject): JsonObject {
  const written = "implementation" in config || "consume_less" in config || "inner_activation" in config;
  if (className !== "GRU" || !written || "reset_after" in config) return config;
  return { ...config, reset_after: false };
}

function modernMerge(value: JsonObject, config: JsonObject): JsonObject {
  const mode = textAt(config, "mode") ?? "sum";
  const className = merges[mode];
  if (className === undefined) {
    return fail("ERR_WEIGHTS_CONFIG", `a Merge layer of the mode "${mode}" is code of Keras 1 and cannot be read`);
  }
  if (isList(config["layers"]) && config["layers"].length > 0 && value["inbound_nodes"] === undefined) {
    return fail("ERR_WEIGHTS_CONFIG", "a Merge layer with branches inside a Sequential model cannot be read");
  }
  const { name = null, trainable = true } = config;
  const axes: JsonObject =
    className === "Concatenate"
      ? { axis: config["concat_axis"] ?? -1 }
      : className === "Dot"
        ? { axes: config["dot_axes"] ?? -1, normalize: mode === "cos" }
        : {};
  return { ...value, class_name: className, config: { ...(name !== null && { name }), trainable, ...axes } };
}

function modernTimeDistributed(value: JsonObject, config: JsonObject): JsonObject {
  const { name = null, trainable = true, batch_input_shape: shape = null, ...rest } = config;
  const layer = { class_name: "Dense", config: rest };
  const outside = { ...(name !== null && { name }), trainable, ...(shape !== null && { batch_input_shape: shape }) };
  return { ...value, class_name: "TimeDistributed", config: { ...outside, layer } };
}
