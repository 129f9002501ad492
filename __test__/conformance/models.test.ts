/** Every HDF5 file of every model of the corpus: the weights bit for bit, in Keras' order. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  completeFile,
  expectedOf,
  hdf5Files,
  mergesOnSaving,
  samples,
  sha256,
  type Sample,
} from "../support/corpus.ts";
import { buildSample, canBuild } from "../support/zoo.ts";

/**
 * Files whose values Keras itself cannot bring back, with what must happen here.
 * `rows` are rows of docs/compatibility.md or facts of the file (weights that are simply not in it).
 */
const absent: Record<string, { missing?: string[]; why: string }> = {
  "functional_with_attrs/k3/legacy_full.h5": {
    missing: ["extra/kernel", "extra/bias"],
    why: "Keras 3 leaves them out",
  },
  "functional_with_attrs/k3/legacy_weights.h5": {
    missing: ["extra/kernel", "extra/bias"],
    why: "Keras 3 leaves them out",
  },
};

let compared = 0;
afterAll(() => {
  process.stderr.write(`conformance, models: ${compared} files compared bit for bit\n`);
});

describe.each(
  samples()
    .filter(canBuild)
    .map((sample) => [sample.id, sample] as const),
)("%s", (_id, sample: Sample) => {
  const expected = expectedOf(sample);
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "kw-conformance-"));
  });
  afterAll(() => {
    rmSync(folder, { recursive: true, force: true });
  });

  it("has Keras' weights: paths, shapes, dtypes and trainable flags in order", () => {
    const model = buildSample(sample);
    // Of a model with very many weights only some are listed.
    const listed = model.weights.filter((_, k) => expected.get_weights.some(({ index }) => index === k));
    expect(model.weights).toHaveLength((expected.get_weights.at(-1)?.index ?? -1) + 1);
    expect(listed.map((w) => ({ shape: [...w.shape], dtype: w.dtype, trainable: w.trainable }))).toEqual(
      expected.get_weights.map((w) => ({ shape: w.shape, dtype: w.dtype, trainable: w.trainable })),
    );
  });

  const files = hdf5Files(sample).filter(
    (file) => !(mergesOnSaving(sample) && file.endsWith(".weights.h5")), // low_rank.test.ts looks into those
  );
  it.each(files)("%s", async (file) => {
    const model = buildSample(sample);
    const fact = absent[`${sample.id}/${file}`];
    await model.loadWeights(join(sample.folder, file));
    const found = model.getWeights();
    const wanted = expected.get_weights.filter((w) => !fact?.missing?.includes(w.path ?? w.name));
    expect(wanted.map((w) => [w.path ?? w.name, found[w.index] && sha256(found[w.index]!.data)])).toEqual(
      wanted.map((w) => [w.path ?? w.name, w.sha256]),
    );
    compared += 1;
  });

  // What is loaded is written again in each HDF5 kind and read back, through fresh models.
  const source = files[0];
  it.runIf(source !== undefined)("saves and reloads in every HDF5 kind", async () => {
    const model = buildSample(sample);
    await model.loadWeights(completeFile(sample));
    const before = model.getWeights().map((tensor) => sha256(tensor.data));
    for (const name of ["w.weights.h5", "w.h5"]) {
      if (name === "w.weights.h5" && mergesOnSaving(sample)) continue;
      if (name === "w.h5" && sample.model === "functional_with_attrs" && sample.flavor === "keras3") continue;
      if (name === "w.h5" && sample.model === "subclassed" && sample.flavor === "keras2") continue; // its names collide
      await model.saveWeights(join(folder, name));
      const again = buildSample(sample);
      await again.loadWeights(join(folder, name));
      expect(again.getWeights().map((tensor) => sha256(tensor.data))).toEqual(before);
    }
  });
});
