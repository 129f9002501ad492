// Element types changing as Keras' `assign` changes them (numpy's astype): floats round to nearest, ties to even;
// floats become integers towards zero; integers wrap; bool is "not zero". A float outside an integer's range is
// undefined in numpy and becomes the nearest integer here, NaN becomes 0.
import { entriesOf, isArrayOf, type RawArray, type TensorDType } from "./dtype.ts";
import { WeightsError } from "./errors.ts";
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float8e4m3ToFloat32,
  float8e5m2ToFloat32,
  toBfloat16,
  toFloat16,
  toFloat8e4m3,
  toFloat8e5m2,
} from "./half-floats.ts";

type Values = ArrayLike<number> | ArrayLike<bigint>;

const decoders: Partial<Record<TensorDType, (bits: ArrayLike<number>) => Float32Array>> = {
  float16: float16ToFloat32,
  bfloat16: bfloat16ToFloat32,
  float8_e4m3fn: float8e4m3ToFloat32,
  float8_e5m2: float8e5m2ToFloat32,
};

/** The values of raw data as numbers: small floats as float32, all others as they are. */
export function decoded(dtype: TensorDType, data: RawArray): Values {
  const decode = decoders[dtype];
  return decode === undefined ? data : decode(data as ArrayLike<number>);
}

/** The float64 from which a float32 is rounded as it would be from the integer itself: the last bit says "and more". */
function rounded(value: bigint): number {
  const magnitude = value < 0n ? -value : value;
  const shift = BigInt(Math.max(magnitude.toString(2).length - 53, 0));
  if (shift === 0n) return Number(value);
  const sticky = (magnitude & ((1n << shift) - 1n)) === 0n ? 0n : 1n;
  const near = Number(((magnitude >> shift) | sticky) << shift);
  return value < 0n ? -near : near;
}

const encoders: Partial<Record<TensorDType, (value: number) => number>> = {
  float16: toFloat16,
  float8_e4m3fn: toFloat8e4m3,
  float8_e5m2: toFloat8e5m2,
};

const ranges: Readonly<Record<string, readonly [number, number]>> = {
  int8: [-128, 127],
  int16: [-32768, 32767],
  int32: [-2147483648, 2147483647],
  uint8: [0, 255],
  uint16: [0, 65535],
  uint32: [0, 4294967295],
};

const bigRanges: Readonly<Record<string, readonly [bigint, bigint]>> = {
  int64: [-(2n ** 63n), 2n ** 63n - 1n],
  uint64: [0n, 2n ** 64n - 1n],
};

function clamped<T extends number | bigint>(value: T, [low, high]: readonly [T, T]): T {
  return value < low ? low : value > high ? high : value;
}

const floats = new Set<TensorDType>([
  ...(["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"] as const),
  ...(["complex64", "complex128"] as const),
]);

/** How one value is written, as an entry of the target's array. */
function writer(to: TensorDType, fromFloat: boolean): (value: number | bigint) => number | bigint {
  const range = ranges[to];
  if (range !== undefined) {
    // The store wraps a number by itself, but only exactly below 2^53.
    return (value) =>
      typeof value === "bigint"
        ? Number(BigInt.asIntN(32, value))
        : fromFloat
          ? clamped(Number.isNaN(value) ? 0 : Math.trunc(value), range)
          : value;
  }
  const bigRange = bigRanges[to];
  if (bigRange !== undefined) {
    return (value) => {
      if (typeof value === "bigint") return value;
      if (!fromFloat) return BigInt(value);
      if (Number.isNaN(value)) return 0n;
      // Infinity is no bigint; beyond 2^65 everything is out of range alike.
      return clamped(BigInt(Math.trunc(clamped(value, [-(2 ** 65), 2 ** 65]))), bigRange);
    };
  }
  const encode = encoders[to];
  if (encode !== undefined) return (value) => encode(Number(value));
  if (to === "bfloat16") return (value) => toBfloat16(typeof value === "bigint" ? rounded(value) : value);
  if (to === "float32" || to === "complex64") {
    return (value) => (typeof value === "bigint" ? rounded(value) : value);
  }
  return (value) => Number(value);
}

/**
 * Writes values of one dtype into an array of another. Both hold the same number of elements.
 *
 * @throws ERR_WEIGHTS_DTYPE when opaque bytes would have to be understood.
 */
export function castValues(target: RawArray, to: TensorDType, source: RawArray, from: TensorDType): void {
  if (from === to && isArrayOf(to, source)) {
    (target as Uint8Array).set(source as Uint8Array);
    return;
  }
  if (from.startsWith("opaque") || to.startsWith("opaque")) {
    throw new WeightsError("ERR_WEIGHTS_DTYPE", `${from} values cannot become ${to}`, { expected: to, found: from });
  }
  const values = decoded(from, source);
  const [stepFrom, stepTo] = [entriesOf(from), entriesOf(to)];
  const count = values.length / stepFrom;
  const out = target as unknown as Record<number, number | bigint>;
  const write = writer(to, floats.has(from));
  for (let i = 0; i < count; i++) {
    const real = values[i * stepFrom] ?? 0;
    const imaginary = stepFrom === 2 ? (values[i * 2 + 1] ?? 0) : 0;
    if (to === "bool") out[i] = Number(real) !== 0 || Number(imaginary) !== 0 ? 1 : 0;
    else out[i * stepTo] = write(real);
    if (stepTo === 2) out[i * 2 + 1] = Number(imaginary);
  }
}
