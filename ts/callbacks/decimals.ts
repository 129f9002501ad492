// Exact decimal digits of doubles. JavaScript's toFixed and toExponential round halves up, Python rounds them to even:
// `(0.125).toFixed(2)` is "0.13" where Python gives "0.12".

/** A finite, non-negative double as `mantissa × 2^exponent`. */
function binary(value: number): { mantissa: bigint; exponent: number } {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  const bits = view.getBigUint64(0);
  const field = Number((bits >> 52n) & 0x7ffn);
  const fraction = bits & 0xfffffffffffffn;
  return field === 0
    ? { mantissa: fraction, exponent: -1074 }
    : { mantissa: fraction | (1n << 52n), exponent: field - 1075 };
}

/** `value × 10^power` as the nearest integer, ties to even. */
function scaled(value: number, power: number): bigint {
  const { mantissa, exponent } = binary(value);
  let numerator = mantissa;
  let denominator = 1n;
  if (power >= 0) numerator *= 10n ** BigInt(power);
  else denominator *= 10n ** BigInt(-power);
  if (exponent >= 0) numerator <<= BigInt(exponent);
  else denominator <<= BigInt(-exponent);
  const quotient = numerator / denominator;
  const twice = (numerator % denominator) * 2n;
  const up = twice > denominator || (twice === denominator && (quotient & 1n) === 1n);
  return up ? quotient + 1n : quotient;
}

/** A finite, non-negative double with so many digits after the point: `12.50`. */
export function fixed(value: number, decimals: number): string {
  const digits = scaled(value, decimals)
    .toString()
    .padStart(decimals + 1, "0");
  if (decimals === 0) return digits;
  return `${digits.slice(0, -decimals)}.${digits.slice(-decimals)}`;
}

/** Significant digits without a point, and the power of ten of the first: 1250 → `{ digits: "125", exponent: 3 }`. */
export interface Scientific {
  readonly digits: string;
  readonly exponent: number;
}

/** A finite, non-negative double rounded to so many significant digits. */
export function significant(value: number, count: number): Scientific {
  if (value === 0) return { digits: "0".repeat(count), exponent: 0 };
  // The shortest digits may round up to the next power of ten, so the first guess can be one too high.
  let exponent = shortest(value).exponent;
  let rounded = scaled(value, count - 1 - exponent);
  if (rounded < 10n ** BigInt(count - 1)) {
    exponent -= 1;
    rounded = scaled(value, count - 1 - exponent);
  }
  if (rounded >= 10n ** BigInt(count)) {
    exponent += 1;
    rounded /= 10n;
  }
  return { digits: rounded.toString(), exponent };
}

/** The fewest digits that give the same double when read back. */
export function shortest(value: number): Scientific {
  const [mantissa = "0", exponent = "0"] = value.toExponential().split("e");
  return { digits: mantissa.replace(".", ""), exponent: Number(exponent) };
}
