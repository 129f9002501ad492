import { describe as suite, expect, it } from "vitest";

import { clearSession } from "../../ts/model/naming.ts";
import { describe } from "../../ts/model/tree.ts";
import { canonical, withoutTraining } from "./canonical.ts";
import { corpusModels, goldenTree, readJson, type ExpectedModel } from "./corpus.ts";
import { zoo } from "./zoo.ts";

suite("models written in TypeScript", () => {
  for (const [name, build] of Object.entries(zoo)) {
    for (const [short, flavor] of [
      ["k3", "keras3"],
      ["k2", "keras2"],
    ] as const) {
      const golden = goldenTree(`${name}.${short}`);
      if (golden === undefined) continue;

      it(`${name} is described as Keras' own ${flavor} object`, () => {
        clearSession();
        expect(canonical(describe(build(flavor)).tree)).toEqual(canonical(withoutTraining(golden)));
      });
    }
  }

  for (const { id, name, folder, flavor } of corpusModels("expected.json")) {
    const build = zoo[name];
    if (build === undefined || name.startsWith("many_")) continue; // of those only counts are recorded

    it(`${id} lists its weights in Keras' order`, () => {
      clearSession();
      const model = build(flavor);
      const expected = readJson(`${folder}/expected.json`) as ExpectedModel;
      const names = model.weights.map((weight) => (flavor === "keras3" ? weight.path : weight.name));
      expect(names).toEqual(expected.get_weights.map((weight) => weight.path ?? weight.name));
      expect(model.layers.map((layer) => layer.name)).toEqual(expected.layers.map((layer) => layer.name));
    });
  }
});
