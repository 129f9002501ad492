import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe as suite, expect, it } from "vitest";

import { openWeightsSync } from "../../ts/io/open.ts";
import { modelFromConfig } from "../../ts/config/read.ts";
import { loadWeightsSync, saveWeightsSync } from "../../ts/io/verbs.ts";
import { DeclaredLayer } from "../../ts/layers/declared.ts";
import { layers } from "../../ts/layers/index.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { model } from "../../ts/model/functional.ts";
import { describe } from "../../ts/model/tree.ts";
import type { Model } from "../../ts/model/model.ts";
import { tensor } from "../../ts/tensor.ts";
import { canonical } from "../model/canonical.ts";
import { corpusModels, goldenTree, readJson, type ExpectedModel } from "../model/corpus.ts";
import { readNpz } from "../support/npz.ts";

const folder = mkdtempSync(join(tmpdir(), "low-rank-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

function base(): Model {
  const inputs = layers.input([5], { dtype: "int32" });
  let x = layers.embedding(12, 8).apply(inputs);
  x = layers.einsumDense("abc,cd->abd", [null, 6], { biasAxes: "d" }).apply(x);
  x = layers.globalAveragePooling1d().apply(x);
  x = layers.dense(7).apply(x);
  return model({ inputs, outputs: layers.dense(3, { useBias: false }).apply(x) });
}

function withKerasValues(found: { readonly folder: string }): Model {
  const made = modelFromConfig(readJson(`${found.folder}/config.json`) as object);
  const expected = readJson(`${found.folder}/expected.json`) as ExpectedModel;
  const arrays = readNpz(`${found.folder}/expected.npz`);
  made.setWeights(
    expected.get_weights.map(({ shape, dtype }, i) => {
      const { data } = arrays.get(`w${String(i).padStart(4, "0")}`)!;
      const bytes = data.slice();
      const values = dtype === "int8" ? new Int8Array(bytes.buffer) : new Float32Array(bytes.buffer);
      return tensor(values, shape);
    }),
  );
  return made;
}

suite("low-rank updates", () => {
  it("enableLora gives what Keras' enable_lora gives", () => {
    clearSession();
    const made = base();
    for (const layer of made.layers) {
      if (layer instanceof DeclaredLayer && layer.definition.kernel) layer.enableLora(2);
    }
    expect(canonical(describe(made).tree)).toEqual(canonical(goldenTree("lora.k3")!));
    expect(made.layers[1]!.weights.map((weight) => [weight.name, weight.trainable])).toEqual([
      ["embeddings", false],
      ["lora_embeddings_a", true],
      ["lora_embeddings_b", true],
    ]);
  });

  it("says why where there is no kernel for it", () => {
    const pool = layers.flatten();
    expect(() => {
      pool.enableLora(2);
    }).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_UNSUPPORTED" }) as Error);
    expect(() => {
      layers.dense(3).enableLora(2);
    }).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_UNBUILT" }) as Error);
  });

  for (const found of corpusModels("expected.npz").filter(({ name }) => name.startsWith("lora"))) {
    it(`${found.id} saves the kernels that Keras merged`, () => {
      const made = withKerasValues(found);
      const path = join(folder, `${found.id}.weights.h5`);
      saveWeightsSync(made, path);
      const ours = openWeightsSync(path);
      const theirs = openWeightsSync(`${found.folder}/model.weights.h5`);
      const paths = theirs.entries().map((entry) => entry.path);
      expect(ours.entries().map((entry) => entry.path)).toEqual(expect.arrayContaining(paths));
      for (const entry of paths) {
        const [mine, other] = [ours.get(entry), theirs.get(entry)];
        expect(mine.dtype).toBe(other.dtype);
        const [left, right] = [mine.toFloat32(), other.toFloat32()];
        // The product's rounding differs: by a last bit, and so by one step of int8 where it lies half way.
        const allowed = mine.dtype === "int8" ? 1 : 1e-4;
        for (const [i, value] of left.entries()) expect(Math.abs(value - right[i]!)).toBeLessThanOrEqual(allowed);
      }
    });

    it(`${found.id} loads the merged kernel and forgets the update`, () => {
      const made = withKerasValues(found);
      loadWeightsSync(made, `${found.folder}/model.weights.h5`);
      const theirs = openWeightsSync(`${found.folder}/model.weights.h5`);
      const kernel = made.getLayer("dense").weights.find((weight) => weight.name === "kernel")!;
      expect(kernel.read()).toEqual(theirs.get("layers/dense/vars/0").data);
      for (const weight of made.weights.filter((one) => one.name.startsWith("lora_"))) {
        expect(new Set(weight.read() as Float32Array)).toEqual(new Set([0]));
      }
    });
  }
});
