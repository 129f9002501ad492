import { describe as suite, expect, it } from "vitest";

import { modelFromConfig } from "../../ts/config/read.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { describe } from "../../ts/model/tree.ts";
import { canonical } from "./canonical.ts";
import { corpusModels, goldenTree, readJson } from "./corpus.ts";

const declared = new Set([
  "mnist_dense",
  "offset_names",
  "cnn_bn",
  "lstm",
  "gru",
  "shared_layers",
  "nested_functional",
]);

suite("models from the configs that Keras wrote", () => {
  for (const { id, name, folder } of corpusModels("config.json")) {
    if (!declared.has(name)) continue;
    it(`${id} is described as Keras' own object`, () => {
      clearSession();
      const { tree } = describe(modelFromConfig(readJson(`${folder}/config.json`) as object));
      const golden = goldenTree(id);
      expect(golden, `no recorded tree of ${id}`).toBeDefined();
      expect(canonical(tree)).toEqual(canonical(golden!));
    });
  }
});
