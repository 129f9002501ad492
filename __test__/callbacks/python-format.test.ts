import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";

import { isWeightsError } from "../../ts/errors.ts";
import { fillTemplate, parseTemplate, templateFields, type PythonValue } from "../../ts/callbacks/python-format.ts";
import { formatValue } from "../../ts/callbacks/python-numbers.ts";

type Kind = PythonValue["kind"];
interface Templates {
  readonly values: Readonly<Record<string, number | string>>;
  readonly templates: readonly (readonly [template: string, expected: string | null])[];
}

// From Python itself; null stands for an exception.
const [templates, ...cases] = JSON.parse(
  readFileSync(new URL("../fixtures/_python_format/cases.json", import.meta.url), "utf8"),
) as [Templates, ...[kind: Kind, value: string, spec: string, expected: string | null][]];

function valueOf(kind: Kind, text: string): PythonValue {
  if (kind === "int") return { kind, value: BigInt(text) };
  if (kind === "str") return { kind, value: text };
  return { kind, value: Buffer.from(text, "hex").readDoubleBE() };
}

function orRefusal(body: () => string): string | null {
  try {
    return body();
  } catch (error) {
    if (isWeightsError(error, "ERR_WEIGHTS_ARGUMENT")) return null;
    throw error;
  }
}

describe("Python's format", () => {
  it("writes numbers and texts as Python does, and refuses what Python refuses", () => {
    expect(cases.length).toBeGreaterThan(1500);
    const found = cases.map(([kind, value, spec]) => [
      kind,
      value,
      spec,
      orRefusal(() => formatValue(valueOf(kind, value), spec)),
    ]);
    expect(found).toEqual(cases);
  });

  it("fills templates as Python does", () => {
    const values = new Map<string, PythonValue>(
      Object.entries(templates.values).map(([name, value]) => {
        if (typeof value === "string") return [name, { kind: "str", value }];
        return [name, Number.isInteger(value) ? { kind: "int", value: BigInt(value) } : { kind: "float", value }];
      }),
    );
    const missing = (name: string): never => {
      throw new TypeError(`no ${name}`);
    };
    const found = templates.templates.map(([template]) => {
      try {
        return [template, orRefusal(() => fillTemplate(parseTemplate(template), values, missing))];
      } catch (error) {
        expect(error).toBeInstanceOf(TypeError);
        return [template, null];
      }
    });
    expect(found).toEqual(templates.templates);
  });

  it.each(["{a.b}", "{a[0]}", "{a!q}", "{loss:.99999f}", "{w:99999999}"])("refuses %s", (template) => {
    const values = new Map<string, PythonValue>([
      ["loss", { kind: "float", value: 1 }],
      ["w", { kind: "int", value: 1n }],
    ]);
    const fill = (): string =>
      fillTemplate(parseTemplate(template), values, () => {
        throw new Error("missing");
      });
    expect(fill).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_ARGUMENT" }));
  });

  it("names the fields of a template", () => {
    expect(templateFields(parseTemplate("{epoch:{w}d}-{loss}-{epoch}-{{x}}"))).toEqual(["epoch", "w", "loss"]);
  });
});
