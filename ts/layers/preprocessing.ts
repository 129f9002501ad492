import type { Json } from "../config/json.ts";
import { knownDim, type Dim, type Shape } from "../model/shape.ts";
import { makePart } from "./declared.ts";
import { defineLayer, weight, type LayerContext } from "./definition.ts";
import { anything, flag, json, number, nullable, only, text, type Fields } from "./fields.ts";
import { formatOf, windowLength } from "./shapes.ts";

/** `Rescaling`. */
export const rescaling = defineLayer({
  className: "Rescaling",
  args: ["scale", "offset"],
  config: { scale: json(), offset: anything(0) },
});

const encodings = new Set(["one_hot", "multi_hot", "count", "tf_idf"]);

/** Encodings add or replace the last axis by one place for each token; indices keep the shape. */
function encoded(input: Shape, mode: string, tokens: Dim): Shape {
  if (!encodings.has(mode)) return input;
  if (mode === "one_hot")
    return input.length > 0 && input.at(-1) === 1 ? [...input.slice(0, -1), tokens] : [...input, tokens];
  return input.length <= 1 ? [...input, tokens] : [...input.slice(0, -1), tokens];
}

/** `CategoryEncoding`. */
export const categoryEncoding = defineLayer({
  className: "CategoryEncoding",
  args: ["num_tokens"],
  config: { num_tokens: number(), output_mode: text("multi_hot"), sparse: only("keras2", flag(false)) },
  outputShape: ({ config, input }) => encoded(input, config.output_mode, config.num_tokens),
});

/** `Discretization`. */
export const discretization = defineLayer({
  className: "Discretization",
  plainConfig: "keras3",
  dtype: ({ output_mode: mode }, flavor) => (mode === "int" && flavor === "keras2" ? "int64" : undefined),
  args: ["bin_boundaries"],
  config: {
    bin_boundaries: nullable(json<readonly number[]>()),
    num_bins: nullable(number()),
    epsilon: number(0.01),
    output_mode: text("int"),
    sparse: flag(false),
  },
  outputShape: ({ config, input }) => {
    const bins = config.bin_boundaries === null ? config.num_bins : config.bin_boundaries.length + 1;
    return encoded(input, config.output_mode, bins);
  },
  outputDtype: ({ config, policy }) => (config.output_mode === "int" ? "int64" : policy.compute),
});

/** `Hashing`. */
export const hashing = defineLayer({
  className: "Hashing",
  dtype: ({ output_mode: mode }) => (mode === "int" ? "int64" : undefined),
  args: ["num_bins"],
  config: {
    num_bins: number(),
    mask_value: anything(),
    salt: anything(),
    output_mode: text("int"),
    sparse: flag(false),
  },
  complete: (config) => ({
    ...config,
    salt: typeof config.salt === "number" ? [config.salt, config.salt] : config.salt,
  }),
  outputShape: ({ config, input }) => encoded(input, config.output_mode, config.num_bins),
  outputDtype: ({ config, policy }) => (config.output_mode === "int" ? "int64" : policy.compute),
});

/** `HashedCrossing`. */
export const hashedCrossing = defineLayer({
  className: "HashedCrossing",
  plainConfig: "keras3",
  dtype: ({ output_mode: mode }) => (mode === "int" ? "int64" : undefined),
  args: ["num_bins"],
  config: { num_bins: number(), output_mode: text("int"), sparse: flag(false) },
  outputShape: ({ config, input }) => encoded(input, config.output_mode, config.num_bins),
});

const lookupFields = {
  max_tokens: nullable(number()),
  num_oov_indices: number(1),
  mask_token: anything(),
  output_mode: text("int"),
  invert: flag(false),
  sparse: flag(false),
  pad_to_max_tokens: flag(false),
  vocabulary: anything(),
  idf_weights: anything(),
  vocabulary_size: json<number | null>(null),
  oov_method: only("keras3", text("floormod")),
  salt: only("keras3", anything()),
} as const;

interface Vocabulary {
  readonly max_tokens: number | null;
  readonly num_oov_indices: number;
  readonly mask_token: Json;
  readonly output_mode: string;
  readonly vocabulary: Json;
  readonly vocabulary_size: number | null;
  readonly pad_to_max_tokens: boolean;
}

/** Tokens that a lookup tells apart; unknown for a vocabulary that is still to be adapted or loaded. */
function tokensOf(config: Vocabulary): number | null {
  if (config.pad_to_max_tokens && config.max_tokens !== null) return config.max_tokens;
  if (config.vocabulary_size !== null) return config.vocabulary_size;
  if (!Array.isArray(config.vocabulary)) return null;
  const masks = config.mask_token !== null && config.output_mode === "int" ? 1 : 0;
  return config.vocabulary.length + config.num_oov_indices + masks;
}

/** `StringLookup`. */
export const stringLookup = defineLayer({
  className: "StringLookup",
  dtype: ({ output_mode: mode }, flavor) => (mode === "int" && flavor === "keras2" ? "int64" : undefined),
  config: { ...lookupFields, oov_token: anything("[UNK]"), encoding: text("utf-8") },
  complete: (config) => ({ ...config, vocabulary_size: config.vocabulary_size ?? tokensOf(config) }),
  outputShape: ({ config, input }) => encoded(input, config.output_mode, tokensOf(config)),
  outputDtype: ({ config, policy }) =>
    config.invert ? "string" : config.output_mode === "int" ? "int64" : policy.compute,
});

/** `IntegerLookup`. */
export const integerLookup = defineLayer({
  className: "IntegerLookup",
  dtype: ({ output_mode: mode }, flavor) => (mode === "int" && flavor === "keras2" ? "int64" : undefined),
  config: { ...lookupFields, oov_token: anything(-1), vocabulary_dtype: text("int64") },
  complete: (config) => ({ ...config, vocabulary_size: config.vocabulary_size ?? tokensOf(config) }),
  outputShape: ({ config, input }) => encoded(input, config.output_mode, tokensOf(config)),
  outputDtype: ({ config, policy }) => (config.output_mode === "int" ? "int64" : policy.compute),
});

/** `TextVectorization`. */
export const textVectorization = defineLayer({
  className: "TextVectorization",
  dtype: (_, flavor) => (flavor === "keras2" ? "string" : undefined),
  config: {
    max_tokens: nullable(number()),
    standardize: anything("lower_and_strip_punctuation"),
    split: anything("whitespace"),
    ngrams: anything(),
    output_mode: text("int"),
    output_sequence_length: nullable(number()),
    pad_to_max_tokens: flag(false),
    sparse: flag(false),
    ragged: flag(false),
    vocabulary: anything(),
    idf_weights: anything(),
    encoding: text("utf-8"),
    vocabulary_size: json<number | null>(null),
  },
  innerNames: ["StringLookup"],
  complete: (config) => ({ ...config, vocabulary_size: vocabularySize(config) }),
  parts: (context) => {
    const lookup = lookupOf(context);
    const build = ({ input, flavor }: { readonly input: Shape; readonly flavor: string }): void => {
      if (flavor === "keras2") lookup.buildCalled({ inputs: input });
    };
    return [{ attr: "_lookup_layer", value: lookup, build }];
  },
  outputShape: ({ config, input, flavor }) => {
    const [batch = null] = input;
    if (config.output_mode === "int") return [batch, config.output_sequence_length];
    const tokens = config.pad_to_max_tokens ? config.max_tokens : vocabularySize(config);
    return flavor === "keras3" ? [...input, tokens] : [batch, tokens];
  },
  outputDtype: ({ config, policy }) => (config.output_mode === "int" ? "int64" : policy.compute),
});

/** Tokens with the one for unknown words, and for indices the one for padding. */
function vocabularySize(config: {
  readonly vocabulary_size: number | null;
  readonly vocabulary: Json;
  readonly output_mode: string;
}): number {
  const words = Array.isArray(config.vocabulary) ? config.vocabulary.length : 0;
  return config.vocabulary_size ?? words + (config.output_mode === "int" ? 2 : 1);
}

function lookupOf(context: LayerContext<Fields>) {
  const { innerNames } = context;
  return makePart(stringLookup, context, innerNames[0], {
    vocabulary: (context.config["vocabulary"] as Json | undefined) ?? null,
  });
}

/** `STFTSpectrogram` (Keras 3): its kernels are the transform's sines and cosines. */
export const stftSpectrogram = defineLayer({
  className: "STFTSpectrogram",
  flavors: ["keras3"],
  args: ["mode", "frame_length"],
  config: {
    mode: text("log"),
    frame_length: number(256),
    frame_step: nullable(number()),
    fft_length: nullable(number()),
    window: anything("hann"),
    periodic: flag(false),
    scaling: anything("density"),
    padding: text("valid"),
    expand_dims: flag(false),
    data_format: text("channels_last"),
  },
  variables: ({ config }) => {
    const { mode, frame_length: frame, window, scaling, periodic } = config;
    const shape = [frame, 1, fftBins(config)];
    const kernel = (side: string) => ({ className: "STFT", config: { side, window, scaling, periodic } });
    return [
      mode !== "imag" && weight("real_kernel", shape, kernel("real")),
      mode !== "real" && weight("imag_kernel", shape, kernel("imag")),
    ];
  },
  outputShape: ({ config, input }) => {
    const first = formatOf(config.data_format) === "channels_first";
    const [batch = null] = input;
    const channels = knownDim(input, first ? 1 : -1);
    const step = config.frame_step ?? Math.floor(config.frame_length / 2);
    const steps = windowLength(input[first ? 2 : 1] ?? null, config.frame_length, step, config.padding);
    const bins = fftBins(config) * (config.mode === "stft" ? 2 : 1);
    if (config.expand_dims) return first ? [batch, channels, steps, bins] : [batch, steps, bins, channels];
    return first ? [batch, bins * channels, steps] : [batch, steps, bins * channels];
  },
});

function fftBins(config: { readonly frame_length: number; readonly fft_length: number | null }): number {
  const length = config.fft_length ?? 2 ** Math.ceil(Math.log2(config.frame_length));
  return Math.floor(length / 2) + 1;
}

/** `MelSpectrogram` (Keras 3). */
export const melSpectrogram = defineLayer({
  className: "MelSpectrogram",
  flavors: ["keras3"],
  config: {
    fft_length: number(2048),
    sequence_stride: number(512),
    sequence_length: nullable(number()),
    window: anything("hann"),
    sampling_rate: number(16000),
    num_mel_bins: number(128),
    min_freq: number(20),
    max_freq: nullable(number()),
    power_to_db: flag(true),
    top_db: number(80),
    mag_exp: number(2),
    min_power: number(1e-10),
    ref_power: number(1),
  },
  complete: (config) => ({
    ...config,
    sequence_length: config.sequence_length ?? config.fft_length,
    max_freq: config.max_freq ?? Math.floor(config.sampling_rate / 2),
  }),
  outputShape: ({ config, input }) => {
    const length = input.at(-1) ?? null;
    const { sequence_stride: stride, num_mel_bins: bins } = config;
    const steps = length === null ? null : Math.floor((length + stride + 1) / stride);
    return input.length === 1 ? [bins, steps] : [input[0] ?? null, bins, steps];
  },
});
