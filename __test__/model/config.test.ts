import { describe as suite, expect, it } from "vitest";

import { modelFromConfig } from "../../ts/config/read.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { describe, type ModelTree } from "../../ts/model/tree.ts";
import { canonical, withoutTraining } from "./canonical.ts";
import { corpusModels, goldenTree, readJson, type ExpectedModel } from "./corpus.ts";

/** Their Normalization layers were built by `adapt`, before the model: no config tells that. */
const builtElsewhere = new Set(["normalization_adapted"]);

function flatPaths(tree: ModelTree): ModelTree {
  return { ...tree, variables: tree.variables.map((variable) => ({ ...variable, path: variable.name })) };
}

suite("models from the configs that Keras wrote", () => {
  for (const { id, name, folder, flavor } of corpusModels("config.json")) {
    const config = readJson(`${folder}/config.json`) as object;

    it(`${id} is described as Keras' own object`, () => {
      clearSession();
      const { tree } = describe(modelFromConfig(config));
      const golden = goldenTree(id);
      expect(golden, `no recorded tree of ${id}`).toBeDefined();
      const form = builtElsewhere.has(name) ? flatPaths : (same: ModelTree) => same;
      expect(canonical(form(tree))).toEqual(canonical(form(withoutTraining(golden!))));
    });

    it(`${id} has Keras' weights in Keras' order`, () => {
      clearSession();
      const model = modelFromConfig(config);
      const expected = readJson(`${folder}/expected.json`) as ExpectedModel;
      expect(model.name).toBe(expected.model_name);
      expect(model.layers.map((layer) => layer.name)).toEqual(expected.layers.map((layer) => layer.name));
      const weights = model.weights.map(({ name: weight, path, shape, dtype, trainable }) => ({
        ...(builtElsewhere.has(name) ? {} : { name: weight, path: flavor === "keras3" ? path : null }),
        shape,
        dtype,
        trainable,
      }));
      expect(expected.get_weights).toMatchObject(weights);
      expect(weights).toHaveLength(expected.get_weights.length);
      const size = expected.get_weights.reduce((sum, { shape }) => sum + shape.reduce((n, dim) => n * dim, 1), 0);
      expect(model.countParams()).toBe(size);
    });

    it(`${id} is written as it was read`, () => {
      clearSession();
      const model = modelFromConfig(config);
      const { tree } = describe(model);
      clearSession();
      const again = modelFromConfig(JSON.stringify(model.toJSON()));
      expect(again.flavor).toBe(flavor);
      expect(canonical(describe(again).tree)).toEqual(canonical(tree));
    });
  }
});
