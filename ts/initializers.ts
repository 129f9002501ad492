import { isObject, textAt, type Json, type JsonObject } from "./config/json.ts";
import { fail } from "./model/failure.ts";
import { sizeOf } from "./model/shape.ts";
import { fillStft } from "./stft.ts";
import { randomFor, type Random } from "./random.ts";
import { castInto, rawArray, type DType, type RawArray } from "./tensor.ts";

/**
 * How the first values of a weight are made: Keras' class name and config. It is data; nothing runs until a weight that
 * was never set is read.
 */
export interface Initializer {
  readonly className: string;
  readonly config: JsonObject;
  /** The config entry of a class that is not Keras' own, kept as it was. */
  readonly source?: JsonObject;
}

/** An initializer's name (`"glorot_uniform"`), a constant, or Keras' config of one. */
export type InitializerSetting = string | number | JsonObject | Initializer;

type Fill = (out: Float32Array | Float64Array, shape: readonly number[], config: JsonObject) => void;

interface Kind {
  readonly aliases: readonly string[];
  readonly config: JsonObject;
  readonly fill: Fill;
}

const scaling = { seed: null, input_axes: null, output_axes: null };

function variance(scale: number, mode: string, distribution: string): Fill {
  return (out, shape, config) => {
    fillScaled(out, shape, { ...config, scale, mode, distribution });
  };
}

const kinds: Readonly<Record<string, Kind>> = {
  Zeros: { aliases: ["zeros", "zero"], config: {}, fill: (out) => out.fill(0) },
  Ones: { aliases: ["ones", "one"], config: {}, fill: (out) => out.fill(1) },
  Constant: {
    aliases: ["constant"],
    config: { value: 0 },
    fill: (out, _, config) => out.fill(numberAt(config, "value", 0)),
  },
  RandomNormal: {
    aliases: ["random_normal", "normal"],
    config: { seed: null, mean: 0, stddev: 0.05 },
    fill: (out, _, config) => {
      draw(out, config, (random) => numberAt(config, "mean", 0) + numberAt(config, "stddev", 0.05) * random.normal());
    },
  },
  RandomUniform: {
    aliases: ["random_uniform", "uniform"],
    config: { seed: null, minval: -0.05, maxval: 0.05 },
    fill: (out, _, config) => {
      const low = numberAt(config, "minval", -0.05);
      const range = numberAt(config, "maxval", 0.05) - low;
      draw(out, config, (random) => low + range * random.uniform());
    },
  },
  TruncatedNormal: {
    aliases: ["truncated_normal"],
    config: { seed: null, mean: 0, stddev: 0.05 },
    fill: (out, _, config) => {
      const mean = numberAt(config, "mean", 0);
      const deviation = numberAt(config, "stddev", 0.05);
      draw(out, config, (random) => mean + deviation * random.truncatedNormal());
    },
  },
  VarianceScaling: {
    aliases: ["variance_scaling"],
    config: {
      seed: null,
      scale: 1,
      mode: "fan_in",
      distribution: "truncated_normal",
      input_axes: null,
      output_axes: null,
    },
    fill: (out, shape, config) => {
      fillScaled(out, shape, config);
    },
  },
  GlorotUniform: { aliases: ["glorot_uniform"], config: scaling, fill: variance(1, "fan_avg", "uniform") },
  GlorotNormal: { aliases: ["glorot_normal"], config: scaling, fill: variance(1, "fan_avg", "truncated_normal") },
  HeUniform: { aliases: ["he_uniform"], config: scaling, fill: variance(2, "fan_in", "uniform") },
  HeNormal: { aliases: ["he_normal"], config: scaling, fill: variance(2, "fan_in", "truncated_normal") },
  LecunUniform: { aliases: ["lecun_uniform"], config: scaling, fill: variance(1, "fan_in", "uniform") },
  LecunNormal: { aliases: ["lecun_normal"], config: scaling, fill: variance(1, "fan_in", "truncated_normal") },
  Orthogonal: {
    aliases: ["orthogonal", "OrthogonalInitializer"],
    config: { seed: null, gain: 1 },
    fill: fillOrthogonal,
  },
  STFT: {
    aliases: ["stft", "STFTInitializer"],
    config: { side: "real", window: "hann", scaling: "density", periodic: false },
    fill: fillStft,
  },
  Identity: { aliases: ["identity", "IdentityInitializer", "eye"], config: { gain: 1 }, fill: fillIdentity },
};

const byName = new Map(
  Object.entries(kinds).flatMap(([className, kind]) => [className, ...kind.aliases].map((name) => [name, className])),
);

/** Reads an initializer from an option or a config. */
export function parseInitializer(setting: InitializerSetting): Initializer {
  if (typeof setting === "number") return { className: "Constant", config: { value: setting } };
  if (typeof setting === "string") return named(setting, {});
  if (isInitializer(setting)) return setting;
  const className = textAt(setting, "class_name");
  if (className === undefined) fail("ERR_WEIGHTS_CONFIG", "an initializer without a class_name");
  const config = isObject(setting["config"]) ? setting["config"] : {};
  return byName.has(className) ? named(className, config) : { className, config, source: setting };
}

function isInitializer(setting: JsonObject | Initializer): setting is Initializer {
  return "className" in setting;
}

function named(name: string, config: JsonObject): Initializer {
  const className = byName.get(name);
  if (className === undefined) return { className: name, config };
  // Keras before 2.3 wrote every member of the family as VarianceScaling and always a dtype; both are read.
  return { className, config: { ...kinds[className]?.config, ...config } };
}

/** An initializer as Keras writes it; both Kerases read this form. */
export function initializerConfig(initializer: Initializer, flavor: "keras2" | "keras3"): JsonObject {
  if (initializer.source) return initializer.source;
  const config: Record<string, Json> = { ...initializer.config };
  if (flavor === "keras2") {
    delete config["input_axes"];
    delete config["output_axes"];
  }
  const kind = { module: "keras.initializers", class_name: initializer.className, config, registered_name: null };
  return kind;
}

/** First values of a weight. Distributions are Keras'; the generator, and so each value, is ours. */
export function initialize(initializer: Initializer, shape: readonly number[], dtype: DType): RawArray {
  const raw = rawArray(dtype, sizeOf(shape));
  if (initializer.className === "Zeros") return raw;
  if (raw instanceof Float32Array || raw instanceof Float64Array) {
    fillWith(initializer, raw, shape);
  } else {
    const values = new Float32Array(sizeOf(shape));
    fillWith(initializer, values, shape);
    castInto(raw, dtype, values);
  }
  return raw;
}

function fillWith(initializer: Initializer, out: Float32Array | Float64Array, shape: readonly number[]): void {
  if (initializer.className === "GroupIndex") {
    const block = numberAt(initializer.config, "block", 1);
    for (let i = 0; i < out.length; i += 1) out[i] = Math.floor(i / block);
    return;
  }
  if (initializer.className === "UnitForgetBias") {
    fillUnitForget(out, initializer.config);
    return;
  }
  const kind = kinds[initializer.className];
  if (kind === undefined) {
    fail(
      "ERR_WEIGHTS_UNSUPPORTED",
      `the initializer ${initializer.className} is not one of Keras': set or load the weight`,
    );
  }
  kind.fill(out, shape, initializer.config);
}

/** The bias of an LSTM: ones for the forget gate, `bias` for the three others (Keras' `unit_forget_bias`). */
export function unitForgetBias(bias: Initializer): Initializer {
  return { className: "UnitForgetBias", config: { class_name: bias.className, config: bias.config } };
}

function fillUnitForget(out: Float32Array | Float64Array, config: JsonObject): void {
  const units = out.length / 4;
  fillWith(parseInitializer(config), out, [out.length]);
  out.fill(1, units, 2 * units);
}

function numberAt(config: JsonObject, key: string, otherwise: number): number {
  const value = config[key];
  return typeof value === "number" ? value : otherwise;
}

function draw(out: Float32Array | Float64Array, config: JsonObject, next: (random: Random) => number): void {
  const seed = config["seed"];
  const random = randomFor(typeof seed === "number" ? seed : null);
  for (let i = 0; i < out.length; i += 1) out[i] = next(random);
}

function fillScaled(out: Float32Array | Float64Array, shape: readonly number[], config: JsonObject): void {
  const [fanIn, fanOut] = fans(shape, axes(config["input_axes"]), axes(config["output_axes"]));
  const mode = textAt(config, "mode") ?? "fan_in";
  const fan = mode === "fan_in" ? fanIn : mode === "fan_out" ? fanOut : (fanIn + fanOut) / 2;
  const scale = numberAt(config, "scale", 1) / Math.max(1, fan);
  const distribution = textAt(config, "distribution") ?? "truncated_normal";
  if (distribution === "uniform") {
    const limit = Math.sqrt(3 * scale);
    draw(out, config, (random) => limit * (2 * random.uniform() - 1));
  } else if (distribution === "untruncated_normal") {
    draw(out, config, (random) => Math.sqrt(scale) * random.normal());
  } else {
    // The deviation of a normal cut at two deviations is 0.8796…: divided out, so that the result has the one wanted.
    const deviation = Math.sqrt(scale) / 0.8796256610342398;
    draw(out, config, (random) => deviation * random.truncatedNormal());
  }
}

function axes(value: Json | undefined): readonly number[] | undefined {
  return Array.isArray(value) ? (value as readonly number[]) : undefined;
}

/** Numbers of inputs and outputs of a unit, by Keras' rule for dense and convolution kernels. */
export function fans(
  shape: readonly number[],
  input?: readonly number[],
  output?: readonly number[],
): [number, number] {
  const over = (list: readonly number[]): number => list.reduce((product, axis) => product * (shape.at(axis) ?? 1), 1);
  if (input && output) return [over(input), over(output)];
  if (shape.length === 0) return [1, 1];
  if (shape.length === 1) return [shape[0] ?? 1, shape[0] ?? 1];
  const field = sizeOf(shape.slice(0, -2));
  return [field * (shape.at(-2) ?? 1), field * (shape.at(-1) ?? 1)];
}

function fillIdentity(out: Float32Array | Float64Array, shape: readonly number[], config: JsonObject): void {
  const [rows = 0, columns = 0] = shape;
  if (shape.length !== 2)
    fail("ERR_WEIGHTS_SHAPE", "the identity initializer makes matrices only", { found: [...shape] });
  out.fill(0);
  for (let i = 0; i < Math.min(rows, columns); i += 1) out[i * columns + i] = numberAt(config, "gain", 1);
}

/** Orthogonal columns (or rows, when there are more columns), by Gram-Schmidt applied twice to a normal matrix. */
function fillOrthogonal(out: Float32Array | Float64Array, shape: readonly number[], config: JsonObject): void {
  if (shape.length < 2) {
    fail("ERR_WEIGHTS_SHAPE", "the orthogonal initializer needs at least two axes", { found: [...shape] });
  }
  const columns = shape.at(-1) ?? 1;
  const rows = sizeOf(shape.slice(0, -1));
  const [long, short] = rows < columns ? [columns, rows] : [rows, columns];
  const vectors = Array.from({ length: short }, () => new Float64Array(long));
  const seed = config["seed"];
  const random = randomFor(typeof seed === "number" ? seed : null);
  for (const [k, vector] of vectors.entries()) {
    for (let i = 0; i < long; i += 1) vector[i] = random.normal();
    for (const other of [...vectors.slice(0, k), ...vectors.slice(0, k)]) {
      const along = dot(vector, other);
      for (let i = 0; i < long; i += 1) vector[i] = (vector[i] ?? 0) - along * (other[i] ?? 0);
    }
    const length = Math.sqrt(dot(vector, vector));
    for (let i = 0; i < long; i += 1) vector[i] = (vector[i] ?? 0) / length;
  }
  const gain = numberAt(config, "gain", 1);
  for (const [k, vector] of vectors.entries()) {
    for (let i = 0; i < long; i += 1) out[rows < columns ? k * columns + i : i * columns + k] = gain * (vector[i] ?? 0);
  }
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i += 1) sum += (a[i] ?? 0) * (b[i] ?? 0);
  return sum;
}

/** An initializer of the scaling family, told which axes of a kernel are inputs and outputs, unless it knows already. */
export function withAxes(initializer: Initializer, input: readonly number[], output: readonly number[]): Initializer {
  const { config } = initializer;
  const scaled = initializer.source === undefined && "input_axes" in config && "output_axes" in config;
  if (!scaled || (config["input_axes"] !== null && config["output_axes"] !== null)) return initializer;
  return { ...initializer, config: { ...config, input_axes: [...input], output_axes: [...output] } };
}
