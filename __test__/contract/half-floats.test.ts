import { describe, expect, it } from "vitest";

import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float8e4m3ToFloat32,
  float8e5m2ToFloat32,
  toBfloat16,
  toFloat16,
  toFloat8e4m3,
  toFloat8e5m2,
} from "../../ts/half-floats.ts";

/** The number that bits of a small float stand for, straight from its definition. */
function defined(bits: number, exponentBits: number, mantissaBits: number, infinities: boolean): number {
  const sign = bits >> (exponentBits + mantissaBits) === 0 ? 1 : -1;
  const exponent = (bits >> mantissaBits) & (2 ** exponentBits - 1);
  const fraction = (bits & (2 ** mantissaBits - 1)) / 2 ** mantissaBits;
  const bias = 2 ** (exponentBits - 1) - 1;
  if (exponent === 2 ** exponentBits - 1) {
    if (infinities) return fraction === 0 ? sign * Infinity : NaN;
    if (fraction === 1 - 2 ** -mantissaBits) return NaN;
  }
  return sign * (exponent === 0 ? fraction * 2 ** (1 - bias) : (1 + fraction) * 2 ** (exponent - bias));
}

const kinds = [
  {
    name: "float16",
    bits: 16,
    exponent: 5,
    mantissa: 10,
    infinities: true,
    decode: float16ToFloat32,
    encode: toFloat16,
  },
  {
    name: "bfloat16",
    bits: 16,
    exponent: 8,
    mantissa: 7,
    infinities: true,
    decode: bfloat16ToFloat32,
    encode: toBfloat16,
  },
  {
    name: "e4m3",
    bits: 8,
    exponent: 4,
    mantissa: 3,
    infinities: false,
    decode: float8e4m3ToFloat32,
    encode: toFloat8e4m3,
  },
  {
    name: "e5m2",
    bits: 8,
    exponent: 5,
    mantissa: 2,
    infinities: true,
    decode: float8e5m2ToFloat32,
    encode: toFloat8e5m2,
  },
];

describe.each(kinds)("$name", ({ bits, exponent, mantissa, infinities, decode, encode }) => {
  const all = Array.from({ length: 2 ** bits }, (_, k) => k);
  const values = decode(all);

  it("decodes every pattern to what it is defined to be", () => {
    const wrong = all.filter((k) => !Object.is(values[k], defined(k, exponent, mantissa, infinities)));
    expect(wrong).toEqual([]);
  });

  it("encodes every value back to its pattern", () => {
    const wrong = all.filter((k) => !Number.isNaN(values[k]) && encode(values[k]!) !== k);
    expect(wrong).toEqual([]);
    expect(decode([encode(NaN)])[0]).toBeNaN();
  });

  it("rounds to nearest, ties to even", () => {
    const wrong: number[] = [];
    for (let k = 0; k < 2 ** (bits - 1) - 2; k++) {
      const [low, high] = [values[k]!, values[k + 1]!];
      if (!Number.isFinite(low) || !Number.isFinite(high)) continue;
      const middle = (low + high) / 2;
      const even = k % 2 === 0 ? k : k + 1;
      // Near a float32 of its own, because bfloat16 goes by way of float32.
      const step = (high - low) / 256;
      if (encode(middle) !== even || encode(middle - step) !== k || encode(middle + step) !== k + 1) wrong.push(k);
    }
    expect(wrong).toEqual([]);
  });
});

it("values beyond the largest become infinity, or NaN where there is none", () => {
  expect([65519, 65520, 1e30, -1e30, -Infinity].map(toFloat16)).toEqual([0x7bff, 0x7c00, 0x7c00, 0xfc00, 0xfc00]);
  expect([448, 464, 464.1, Infinity, -500].map(toFloat8e4m3)).toEqual([0x7e, 0x7e, 0x7f, 0x7f, 0xff]);
  expect([57344, 61439, 61440, -Infinity].map(toFloat8e5m2)).toEqual([0x7b, 0x7b, 0x7c, 0xfc]);
  expect([3.3895e38, 3.4e38, -0].map(toBfloat16)).toEqual([0x7f7f, 0x7f80, 0x8000]);
});

it("NaN keeps its payload on the way out", () => {
  expect([...new Uint32Array(float16ToFloat32([0x7e01, 0xfc01]).buffer)]).toEqual([0x7fc02000, 0xff802000]);
  expect([...new Uint32Array(bfloat16ToFloat32([0x7fa5]).buffer)]).toEqual([0x7fa50000]);
});
