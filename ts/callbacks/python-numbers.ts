// Python's format specifications for numbers and strings (its "format specification mini-language").
import { WeightsError } from "../errors.ts";
import { fixed, shortest, significant, type Scientific } from "./decimals.ts";

/** `[[fill]align][sign][z][#][0][width][grouping][.precision][type]` */
interface Spec {
  readonly fill: string;
  readonly align: "<" | ">" | "=" | "^";
  readonly sign: "+" | "-" | " " | "";
  readonly noNegativeZero: boolean;
  readonly alternate: boolean;
  readonly width: number;
  readonly grouping: "," | "_" | "";
  readonly precision: number | undefined;
  readonly type: string;
}

/** What a template can be filled with: integers and floats are two kinds in Python, and print differently. */
export type PythonValue =
  | { readonly kind: "int"; readonly value: bigint }
  | { readonly kind: "float"; readonly value: number }
  | { readonly kind: "str"; readonly value: string };

// Far beyond any file name; keeps a template such as "{loss:.999999999f}" from taking the memory.
const widest = 4096;

const pattern =
  /^(?:(?<fill>[^])(?<fillAlign>[<>=^])|(?<align>[<>=^]))?(?<sign>[-+ ])?(?<z>z)?(?<alternate>#)?(?<zero>0)?(?<width>\d+)?(?<grouping>[,_])?(?:\.(?<precision>\d+))?(?<type>[^])?$/u;

function refuse(message: string): never {
  throw new WeightsError("ERR_WEIGHTS_ARGUMENT", message);
}

function parse(text: string, kind: PythonValue["kind"]): Spec {
  const groups = pattern.exec(text)?.groups;
  if (groups === undefined) refuse(`"${text}" is no format specification of Python`);
  const zero = groups["zero"] !== undefined;
  const align = (groups["fillAlign"] ?? groups["align"] ?? (kind === "str" ? "<" : zero ? "=" : ">")) as Spec["align"];
  const width = Number(groups["width"] ?? 0);
  const precision = groups["precision"] === undefined ? undefined : Number(groups["precision"]);
  if (Math.max(width, precision ?? 0) > widest) refuse(`"${text}" asks for more than ${widest} characters`);
  return {
    fill: groups["fill"] ?? (zero ? "0" : " "),
    align,
    sign: (groups["sign"] ?? "") as Spec["sign"],
    noNegativeZero: groups["z"] !== undefined,
    alternate: groups["alternate"] !== undefined,
    width,
    grouping: (groups["grouping"] ?? "") as Spec["grouping"],
    precision,
    type: groups["type"] ?? "",
  };
}

/**
 * What Python's `format(value, spec)` gives.
 *
 * @throws ERR_WEIGHTS_ARGUMENT where Python raises a ValueError: `:d` for a float, `:.2f` for a string.
 */
export function formatValue(value: PythonValue, text: string): string {
  const spec = parse(text, value.kind);
  if (value.kind === "str") return formatString(value.value, spec, text);
  if (value.kind === "int" && "bcdoxXn".includes(spec.type)) return formatInteger(value.value, spec, text);
  return formatFloat(value, spec, text);
}

function formatString(value: string, spec: Spec, text: string): string {
  const refused =
    spec.sign !== "" || spec.noNegativeZero || spec.alternate || spec.grouping !== "" || spec.align === "=";
  if (refused || (spec.type !== "" && spec.type !== "s")) refuse(`a text cannot be formatted with "${text}"`);
  const characters = Array.from(value);
  return pad("", (spec.precision === undefined ? characters : characters.slice(0, spec.precision)).join(""), spec);
}

const integerBases: Readonly<Record<string, { base: number; prefix: string }>> = {
  b: { base: 2, prefix: "0b" },
  o: { base: 8, prefix: "0o" },
  x: { base: 16, prefix: "0x" },
  X: { base: 16, prefix: "0X" },
};

function formatInteger(value: bigint, spec: Spec, text: string): string {
  if (spec.precision !== undefined || spec.noNegativeZero) refuse(`a whole number cannot be formatted with "${text}"`);
  if (spec.type === "c") {
    if (spec.sign !== "" || spec.alternate || spec.grouping !== "" || value < 0n || value > 0x10ffffn) {
      refuse(`a whole number cannot be formatted with "${text}"`);
    }
    return pad("", String.fromCodePoint(Number(value)), spec);
  }
  const { base, prefix } = integerBases[spec.type] ?? { base: 10, prefix: "" };
  if (spec.grouping !== "" && (spec.type === "n" || (spec.grouping === "," && base !== 10))) {
    refuse(`a whole number cannot be formatted with "${text}"`);
  }
  const digits = (value < 0n ? -value : value).toString(base);
  const head = signOf(value < 0n, spec) + (spec.alternate ? prefix : "");
  return pad(head, spec.type === "X" ? digits.toUpperCase() : digits, spec, base === 10 ? 3 : 4);
}

function formatFloat(input: PythonValue, spec: Spec, text: string): string {
  if (!"eEfFgGn%".includes(spec.type) || (spec.type === "n" && spec.grouping !== "")) {
    refuse(`a number cannot be formatted with "${text}"`);
  }
  const value = Number(input.value);
  const magnitude = Math.abs(spec.type === "%" ? value * 100 : value);
  const ending = spec.type === "%" ? "%" : "";
  const upper = "EFG".includes(spec.type) && spec.type !== "";
  let digits: string;
  if (Number.isFinite(magnitude)) digits = digitsOf(magnitude, spec);
  else digits = Number.isNaN(magnitude) ? "nan" : "inf";
  if (upper) digits = digits.toUpperCase();
  const negative = value < 0 || Object.is(value, -0);
  const shown = negative && !(spec.noNegativeZero && !/[1-9a-z]/iu.test(digits.replace(/e.*$/iu, "")));
  return pad(signOf(shown && !Number.isNaN(value), spec), digits + ending, spec);
}

function digitsOf(value: number, spec: Spec): string {
  const precision = spec.precision ?? 6;
  switch (spec.type) {
    case "e":
    case "E":
      return scientificText(significant(value, precision + 1), spec.alternate);
    case "f":
    case "F":
    case "%":
      return fixed(value, precision) + (spec.alternate && precision === 0 ? "." : "");
    case "g":
    case "G":
    case "n":
      return general(value, precision, spec.alternate, false);
    default:
      return spec.precision === undefined ? floatRepr(value) : general(value, spec.precision, spec.alternate, true);
  }
}

/** Type "g"; without any type a float keeps one digit after its point and turns to exponents one digit earlier. */
function general(value: number, precision: number, alternate: boolean, typeless: boolean): string {
  const count = Math.max(precision, 1);
  const number = significant(value, count);
  const scientific = number.exponent < -4 || number.exponent >= count - (typeless ? 1 : 0);
  const kept = alternate ? number.digits : number.digits.replace(/0+$/u, "") || "0";
  if (scientific) return scientificText({ digits: kept, exponent: number.exponent }, alternate);
  const plain = placePoint({ digits: kept, exponent: number.exponent });
  if (plain.includes(".")) return plain;
  if (alternate) return typeless ? `${plain}.0` : `${plain}.`;
  return typeless ? `${plain}.0` : plain;
}

/** `1.25e+03`; Python writes at least two digits of the exponent. */
function scientificText({ digits, exponent }: Scientific, alternate: boolean): string {
  const rest = digits.slice(1);
  const point = rest !== "" || alternate ? "." : "";
  const power = Math.abs(exponent).toString().padStart(2, "0");
  return `${digits.slice(0, 1)}${point}${rest}e${exponent < 0 ? "-" : "+"}${power}`;
}

function placePoint({ digits, exponent }: Scientific): string {
  if (exponent < 0) return `0.${"0".repeat(-exponent - 1)}${digits}`;
  const whole = digits.slice(0, exponent + 1).padEnd(exponent + 1, "0");
  const rest = digits.slice(exponent + 1);
  return rest === "" ? whole : `${whole}.${rest}`;
}

/** Python's `repr` of a non-negative finite float: `1.0`, `1e-05`, `1e+16`. */
function floatRepr(value: number): string {
  const number = shortest(value);
  if (number.exponent < -4 || number.exponent >= 16) return scientificText(number, false);
  const plain = placePoint(number);
  return plain.includes(".") ? plain : `${plain}.0`;
}

/** Python's `repr`. */
export function pythonRepr(value: PythonValue): string {
  switch (value.kind) {
    case "int":
      return value.value.toString();
    case "float":
      return formatValue(value, "");
    case "str":
      return quoted(value.value);
  }
}

function quoted(value: string): string {
  const quote = value.includes("'") && !value.includes('"') ? '"' : "'";
  const named: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\" };
  const body = Array.from(value, (character) => {
    if (character === quote) return `\\${character}`;
    const code = character.codePointAt(0) ?? 0;
    return named[character] ?? (code < 32 || code === 127 ? `\\x${code.toString(16).padStart(2, "0")}` : character);
  });
  return `${quote}${body.join("")}${quote}`;
}

function signOf(negative: boolean, spec: Spec): string {
  if (negative) return "-";
  return spec.sign === "+" || spec.sign === " " ? spec.sign : "";
}

/** Groups the digits before the point, and brings the whole to its width. */
function pad(head: string, body: string, spec: Spec, group = 3): string {
  const whole = (group === 3 ? /^\d*/u : /^[\da-f]*/iu).exec(body)?.[0] ?? "";
  const groups = spec.grouping !== "" && whole !== "";
  const tail = groups ? body.slice(whole.length) : "";
  let text = groups ? grouped(whole, spec.grouping, group) : body;
  if (groups && spec.fill === "0" && spec.align === "=") {
    // Zeros that fill are digits too: they are grouped, and a separator never stands first.
    let digits = whole;
    while (head.length + text.length + tail.length < spec.width) {
      digits = `0${digits}`;
      text = grouped(digits, spec.grouping, group);
    }
  }
  text += tail;
  const missing = Math.max(spec.width - Array.from(head + text).length, 0);
  const left = spec.align === "^" ? Math.floor(missing / 2) : missing;
  switch (spec.align) {
    case "<":
      return head + text + spec.fill.repeat(missing);
    case "=":
      return head + spec.fill.repeat(missing) + text;
    case ">":
    case "^":
      return spec.fill.repeat(left) + head + text + spec.fill.repeat(missing - left);
  }
}

function grouped(digits: string, separator: string, group: number): string {
  const first = digits.length % group || group;
  const parts = [digits.slice(0, first)];
  for (let at = first; at < digits.length; at += group) parts.push(digits.slice(at, at + group));
  return parts.join(separator);
}
