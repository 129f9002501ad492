import { readFileSync } from "node:fs";
import { describe as suite, expect, it } from "vitest";

import type { Json, JsonObject } from "../../ts/config/json.ts";
import { modelFromConfig } from "../../ts/config/read.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { describe, type ModelTree } from "../../ts/model/tree.ts";
import { canonical } from "./canonical.ts";

interface ModelCase {
  readonly config: JsonObject;
  readonly legacy?: JsonObject;
  readonly tree: Pick<ModelTree, "root" | "variables" | "nodes">;
  readonly layers: readonly string[];
  readonly weights: readonly number[];
  readonly output: Json;
}

for (const [short, flavor] of [
  ["k3", "keras3"],
  ["k2", "keras2"],
] as const) {
  const path = new URL(`../fixtures/layers/models.${short}.json`, import.meta.url);
  const cases = JSON.parse(readFileSync(path, "utf8")) as Record<string, ModelCase>;

  suite(`configs of ${flavor} models of every shape`, () => {
    for (const [name, found] of Object.entries(cases)) {
      const configs = { "to_json()": found.config, "inside .h5": found.legacy };
      for (const [form, config] of Object.entries(configs)) {
        if (config === undefined) continue;

        it(`${name}, ${form}`, () => {
          clearSession();
          const model = modelFromConfig(config);
          expect(model.flavor).toBe(flavor);
          expect(model.layers.map((layer) => layer.name)).toEqual(found.layers);
          if (form === "to_json()") expect(model.outputShape).toEqual(found.output);
          expect(canonical(describe(model).tree)).toEqual(canonical({ version: 1, flavor, ...found.tree }));
          const order = found.weights.map((number) => found.tree.variables[number]!.path);
          expect(model.weights.map((weight) => weight.path)).toEqual(order);
        });
      }

      it(`${name}, written again`, () => {
        clearSession();
        const model = modelFromConfig(found.config);
        const { tree } = describe(model);
        clearSession();
        const again = modelFromConfig(model.toJSON());
        expect(canonical(describe(again).tree)).toEqual(canonical(tree));
        expect(again.outputShape).toEqual(model.outputShape);
      });
    }
  });
}
