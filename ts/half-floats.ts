// Small floats and back, exact in both directions: every small float is a float32, and a number becomes the nearest
// small float, ties to even.

const scratch32 = new Float32Array(1);
const scratchBits32 = new Uint32Array(scratch32.buffer);
const scratch64 = new Float64Array(1);
const scratchBits64 = new BigUint64Array(scratch64.buffer);

/** float16 bits as float32 values; NaN keeps its payload. */
export function float16ToFloat32(bits: ArrayLike<number>): Float32Array {
  const values = new Float32Array(bits.length);
  const words = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) {
    const half = bits[i] ?? 0;
    const sign = (half & 0x8000) << 16;
    const magnitude = half & 0x7fff;
    if (magnitude >= 0x7c00) {
      words[i] = sign | 0x7f800000 | ((magnitude & 0x3ff) << 13);
    } else if (magnitude >= 0x0400) {
      // Another bias: 127 - 15 more, in units of the exponent's last place.
      words[i] = sign | ((magnitude << 13) + (112 << 23));
    } else {
      // Multiples of 2^-24. The sign of zero stays.
      const value = magnitude * 2 ** -24;
      values[i] = sign === 0 ? value : -value;
    }
  }
  return values;
}

/** bfloat16 bits as float32 values: the upper half of each. */
export function bfloat16ToFloat32(bits: ArrayLike<number>): Float32Array {
  const values = new Float32Array(bits.length);
  const words = new Uint32Array(values.buffer);
  for (let i = 0; i < bits.length; i++) words[i] = (bits[i] ?? 0) << 16;
  return values;
}

/** float8_e5m2 bits as float32 values: the upper half of a float16. */
export function float8e5m2ToFloat32(bits: ArrayLike<number>): Float32Array {
  return float16ToFloat32(Uint16Array.from(bits, (byte) => byte << 8));
}

/** float8_e4m3fn bits as float32 values: no infinities, all ones is NaN. */
export function float8e4m3ToFloat32(bits: ArrayLike<number>): Float32Array {
  const values = new Float32Array(bits.length);
  for (let i = 0; i < bits.length; i++) {
    const byte = bits[i] ?? 0;
    const exponent = (byte >> 3) & 0xf;
    const mantissa = byte & 7;
    let value = exponent === 0 ? mantissa * 2 ** -9 : (8 + mantissa) * 2 ** (exponent - 10);
    if ((byte & 0x7f) === 0x7f) value = NaN;
    values[i] = byte & 0x80 ? -value : value;
  }
  return values;
}

/** What a small IEEE-like float is made of. */
interface SmallFloat {
  readonly exponentBits: number;
  readonly mantissaBits: number;
  /** False: the top exponent holds numbers, and what is too large is NaN. */
  readonly infinities: boolean;
}

const float16: SmallFloat = { exponentBits: 5, mantissaBits: 10, infinities: true };
const float8e4m3: SmallFloat = { exponentBits: 4, mantissaBits: 3, infinities: false };
const float8e5m2: SmallFloat = { exponentBits: 5, mantissaBits: 2, infinities: true };

function toEven(value: number): number {
  const below = Math.floor(value);
  const rest = value - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}

function toSmall(value: number, { exponentBits, mantissaBits, infinities }: SmallFloat): number {
  const sign = (value < 0 || Object.is(value, -0) ? 1 : 0) << (exponentBits + mantissaBits);
  const top = ((1 << exponentBits) - 1) << mantissaBits;
  const ones = (1 << mantissaBits) - 1;
  const notANumber = sign | (infinities ? top | (1 << (mantissaBits - 1)) : top | ones);
  if (Number.isNaN(value)) return notANumber;
  const tooLarge = infinities ? sign | top : notANumber;
  const magnitude = Math.abs(value);
  if (magnitude === Infinity) return tooLarge;
  const bias = (1 << (exponentBits - 1)) - 1;
  scratch64[0] = magnitude;
  const exponent = Math.max(Number((scratchBits64[0] ?? 0n) >> 52n) - 1023, 1 - bias);
  if (exponent > bias + 1) return tooLarge;
  const units = toEven(magnitude * 2 ** (mantissaBits - exponent));
  // A carry out of the mantissa becomes the next exponent by itself.
  const bits = (exponent - 1 + bias) * (1 << mantissaBits) + units;
  return bits >= (infinities ? top : top | ones) ? tooLarge : sign | bits;
}

/** The nearest float16 of a number, as bits. */
export function toFloat16(value: number): number {
  return toSmall(value, float16);
}

/** The nearest float8_e4m3fn of a number, as bits; beyond 448 it is NaN. */
export function toFloat8e4m3(value: number): number {
  return toSmall(value, float8e4m3);
}

/** The nearest float8_e5m2 of a number, as bits. */
export function toFloat8e5m2(value: number): number {
  return toSmall(value, float8e5m2);
}

/** The nearest bfloat16 of a number, as bits, by way of its float32 as everybody does it. */
export function toBfloat16(value: number): number {
  scratch32[0] = value;
  const bits = scratchBits32[0] ?? 0;
  const upper = bits >>> 16;
  if (Number.isNaN(value)) return upper | 0x40;
  return ((bits + 0x7fff + (upper & 1)) >>> 16) & 0xffff;
}
