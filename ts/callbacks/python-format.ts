// Python's `str.format` for file names: `"{epoch:02d}-{val_loss:.2f}.keras"`.
import { WeightsError } from "../errors.ts";
import { formatValue, pythonRepr, type PythonValue } from "./python-numbers.ts";

export type { PythonValue } from "./python-numbers.ts";

/** A piece of a template: text to keep, or a field to fill in. */
export type TemplatePart =
  | { readonly text: string }
  | {
      readonly field: string;
      readonly conversion: "r" | "s" | "a" | undefined;
      readonly spec: readonly TemplatePart[];
    };

function refuse(message: string): never {
  throw new WeightsError("ERR_WEIGHTS_ARGUMENT", message);
}

/**
 * Takes a template apart; `{{` and `}}` are braces.
 *
 * @throws ERR_WEIGHTS_ARGUMENT for what Python calls no template, and for indexing and attributes in a field.
 */
export function parseTemplate(template: string): TemplatePart[] {
  return parts(template, 0);
}

function parts(template: string, depth: number): TemplatePart[] {
  if (depth > 2) refuse(`fields are nested too deeply in the template "${template}"`);
  const result: TemplatePart[] = [];
  let text = "";
  let at = 0;
  while (at < template.length) {
    const character = template.charAt(at);
    // Inside a format specification braces cannot be doubled.
    if ((character === "{" || character === "}") && depth === 0 && template.charAt(at + 1) === character) {
      text += character;
      at += 2;
    } else if (character === "}") {
      refuse(`a single "}" stands in the template "${template}"`);
    } else if (character === "{") {
      const end = closing(template, at);
      if (text !== "") result.push({ text });
      text = "";
      result.push(field(template.slice(at + 1, end), depth));
      at = end + 1;
    } else {
      text += character;
      at += 1;
    }
  }
  if (text !== "") result.push({ text });
  return result;
}

function closing(template: string, start: number): number {
  let open = 0;
  for (let at = start; at < template.length; at += 1) {
    const character = template.charAt(at);
    if (character === "{") open += 1;
    if (character === "}") open -= 1;
    if (open === 0) return at;
  }
  return refuse(`a "{" is not closed in the template "${template}"`);
}

function field(text: string, depth: number): TemplatePart {
  const found = /^(?<name>[^!:{}]*)(?:!(?<conversion>[^:]*))?(?::(?<spec>[^]*))?$/u.exec(text)?.groups;
  const name = found?.["name"];
  if (found === undefined || name === undefined) return refuse(`{${text}} is no field of a template`);
  if (name === "" || /^\d+$/u.test(name)) return refuse(`the field {${text}} has no name`);
  if (/[.[\]]/u.test(name)) return refuse(`the field {${text}} asks for a part of a value, which a log does not have`);
  const conversion = found["conversion"];
  if (conversion !== undefined && conversion !== "r" && conversion !== "s" && conversion !== "a") {
    return refuse(`{${text}}: Python knows the conversions !r, !s and !a`);
  }
  return { field: name, conversion, spec: parts(found["spec"] ?? "", depth + 1) };
}

/** Names of the fields of a template, each once. */
export function templateFields(template: readonly TemplatePart[]): string[] {
  const names = template.flatMap((part) => ("text" in part ? [] : [part.field, ...templateFields(part.spec)]));
  return [...new Set(names)];
}

/**
 * Fills a template in.
 *
 * @param missing Called with the name of a field that has no value; it throws.
 * @throws ERR_WEIGHTS_ARGUMENT when a value cannot be written as the field asks: `{epoch:.2q}`.
 */
export function fillTemplate(
  template: readonly TemplatePart[],
  values: ReadonlyMap<string, PythonValue>,
  missing: (name: string) => never,
): string {
  const fill = (part: TemplatePart): string => {
    if ("text" in part) return part.text;
    const found = values.get(part.field) ?? missing(part.field);
    return formatValue(converted(found, part.conversion), part.spec.map(fill).join(""));
  };
  return template.map(fill).join("");
}

function converted(value: PythonValue, conversion: "r" | "s" | "a" | undefined): PythonValue {
  if (conversion === undefined) return value;
  if (conversion === "s" && value.kind === "str") return value;
  const text = pythonRepr(value);
  return { kind: "str", value: conversion === "a" ? escaped(text) : text };
}

/** `!a`: what is not ASCII becomes an escape. */
function escaped(text: string): string {
  return text.replaceAll(/[^\0-\x7f]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x100) return `\\x${code.toString(16)}`;
    return code < 0x10000 ? `\\u${code.toString(16).padStart(4, "0")}` : `\\U${code.toString(16).padStart(8, "0")}`;
  });
}
