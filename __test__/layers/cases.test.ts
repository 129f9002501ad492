import { readFileSync } from "node:fs";
import { describe as suite, expect, it } from "vitest";

import type { Json, JsonObject } from "../../ts/config/json.ts";
import { configReader } from "../../ts/config/read.ts";
import { writeLayer } from "../../ts/config/write.ts";
import type { Flavor } from "../../ts/model/flavor.ts";
import { InputLayer } from "../../ts/model/input_layer.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { isShape, type Shape } from "../../ts/model/shape.ts";
import { mapStructure, type Structure } from "../../ts/model/structure.ts";
import { isSymbolic, type CallArgument, type Symbolic } from "../../ts/model/symbolic.ts";
import { describe, type ModelTree } from "../../ts/model/tree.ts";
import { canonical } from "../model/canonical.ts";

interface Case {
  readonly id: string;
  readonly given: JsonObject;
  readonly config: JsonObject;
  readonly inputs?: readonly Structure<Shape>[];
  readonly call?: JsonObject;
  readonly dtype?: string;
  readonly output?: Json;
  readonly tree: Pick<ModelTree, "root" | "variables" | "nodes">;
  readonly weights: readonly number[];
}

const notWritten = new Set(["build_config", "module", "registered_name"]);

/** A config without what depends on how the layer came to be; numbers as float32, in which Keras holds some. */
function essential(value: unknown): unknown {
  if (typeof value === "number") return Math.fround(value);
  if (Array.isArray(value)) return value.map(essential);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([key]) => !notWritten.has(key));
  return Object.fromEntries(entries.map(([key, item]) => [key, essential(item)]));
}

function inputs(shapes: Structure<Shape>, dtype: string, flavor: Flavor): Structure<Symbolic> {
  if (isShape(shapes)) return new InputLayer(shapes, { dtype, flavor }).output;
  return (shapes as readonly Structure<Shape>[]).map((shape) => inputs(shape, dtype, flavor));
}

for (const [short, flavor] of [
  ["k3", "keras3"],
  ["k2", "keras2"],
] as const) {
  const path = new URL(`../fixtures/layers/cases.${short}.json`, import.meta.url);
  const cases = JSON.parse(readFileSync(path, "utf8")) as Case[];
  const read = (id: string, config: JsonObject) =>
    configReader(flavor).layer({ module: "keras.layers", class_name: id, config });

  suite(`layers as ${flavor} makes them`, () => {
    it("has a case for hundreds of configs", () => {
      expect(cases.length).toBeGreaterThan(450);
    });

    for (const found of cases) {
      const title = `${found.id} ${JSON.stringify(found.given).slice(0, 120)} of ${JSON.stringify(found.inputs ?? [])}`;

      it(`${title}: weights and output`, () => {
        clearSession();
        const args = (found.inputs ?? []).map((shapes) => inputs(shapes, found.dtype ?? "float32", flavor));
        const named = Object.entries(found.call ?? {}).map(([name, value]): [string, CallArgument] => [
          name,
          Array.isArray(value) ? inputs(value as Shape, found.dtype ?? "float32", flavor) : (value as CallArgument),
        ]);
        clearSession();
        const layer = read(found.id, found.config);
        if (found.inputs) {
          const output = layer.applyNode(args, Object.fromEntries(named));
          expect(mapStructure(output, isSymbolic, ({ shape }) => shape)).toEqual(found.output);
        }
        expect(canonical(describe(layer).tree)).toEqual(canonical({ version: 1, flavor, ...found.tree }));
        const order = found.weights.map((number) => found.tree.variables[number]!.path);
        expect(layer.weights.map((variable) => variable.path)).toEqual(order);
      });

      it(`${title}: config with all defaults`, () => {
        const { name = "layer", trainable = true } = found.config;
        const layer = read(found.id, { trainable, ...found.given, name });
        layer.keepSource({}, flavor === "keras2" ? "keras3" : "keras2");
        expect(essential(writeLayer(layer)["config"])).toEqual(essential(found.config));
      });
    }
  });
}
