import { describe as suite, expect, it } from "vitest";

import { modelFromWeights } from "../../ts/config/from_file.ts";
import { openWeightsSync } from "../../ts/io/open.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { describe } from "../../ts/model/tree.ts";
import { canonical, withoutTraining } from "./canonical.ts";
import { corpusModels, goldenTree } from "./corpus.ts";

/** Models whose classes are Python code that no config tells of. */
const ownClasses = /^(?:subclassed|functional_with_attrs|nested_containers|many_weights)/;
/** Its Normalization was built by `adapt`, before the model: the names of its weights tell. */

suite("models out of whole-model files", () => {
  for (const [file, flavor] of [
    ["legacy_full.h5", "keras3"],
    ["full.h5", "keras2"],
  ] as const) {
    for (const { id, folder } of corpusModels(file).filter((found) => found.flavor === flavor)) {
      if (ownClasses.test(id) || id.startsWith("normalization_adapted")) continue;

      it(`${id} has Keras' structure, and its weights load`, () => {
        clearSession();
        const opened = openWeightsSync(`${folder}/${file}`);
        const model = modelFromWeights(opened);
        opened.close();
        expect(canonical(describe(model).tree)).toEqual(canonical(withoutTraining(goldenTree(id)!)));
        if (!id.includes("bfloat16"))
          expect(model.loadWeightsSync(`${folder}/${file}`).loaded.length).toBeGreaterThan(0);
      });
    }
  }

  it("says that a weights-only file has no model", () => {
    const { folder } = corpusModels("model.weights.h5")[0]!;
    expect(() => modelFromWeights(`${folder}/model.weights.h5`)).toThrow(
      expect.objectContaining({ code: "ERR_WEIGHTS_CONFIG" }) as Error,
    );
  });
});
