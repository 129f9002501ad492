/** Orbax checkpoints by real Keras 3, on TensorFlow and on JAX with several processes: into models, by path. */
import { cpSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { layers, loadModel, loadModelSync, modelFromConfig, openWeights, sequential } from "keras-weights";
import { afterAll, describe, expect, it } from "vitest";

import { corpusRoot, hasFullCorpus, readJson, sha256 } from "../support/corpus.ts";
import { expectRows, Tally } from "../support/compatibility.ts";
import { readNpz } from "../support/npz.ts";

const tally = new Tally();

const root = join(corpusRoot, "_orbax");
const folder = mkdtempSync(join(tmpdir(), "kw-orbax-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Arrays {
  readonly arrays: readonly { readonly path: readonly string[]; readonly dtype: string; readonly sha256: string }[];
}

/** The arrays of a JAX checkpoint as Orbax itself restores them: digest by path. */
function recorded(name: string): Map<string, string> {
  const { arrays } = readJson(join(root, name, "expected.json")) as Arrays;
  return new Map(arrays.map(({ path, sha256: digest }) => [path.join("/"), digest]));
}

/** The `model_config` of a checkpoint: Keras' config of the model, as a text in a map of texts. */
function configOf(name: string): object {
  const texts = readJson(join(root, name, "1/model_config/_strings.json")) as { config: string };
  return JSON.parse(texts.config) as object;
}

const jax = ["jax_multi", ...(hasFullCorpus ? ["jax_one"] : [])];

describe.each(jax)("%s", (name) => {
  const expected = recorded(name);

  it("is listed and read as Orbax restores it", async () => {
    await using file = await openWeights(join(root, name));
    expect(file.format).toBe("orbax");
    const found = new Map(file.entries().map(({ path }) => [path, sha256(file.get(path).data)]));
    expect(found).toEqual(expected);
    expect(file.bytesRead).toBeGreaterThan(0);
  });

  it("loads into a model with all its weights, and its optimizer", async () => {
    const model = await loadModel(join(root, name));
    expect(model.weights.length).toBeGreaterThan(3);
    for (const { path, value } of model.weights) {
      const digest = expected.get(`trainable_variables/${path}`) ?? expected.get(`non_trainable_variables/${path}`);
      expect(sha256(value!), path).toBe(digest);
    }
    const variables = model.optimizer?.variables ?? [];
    expect(variables.length).toBeGreaterThan(4);
    // JAX counts iterations in 32 bits.
    expect([variables[0]?.path, variables[0]?.dtype]).toEqual(["adam/iteration", "int64"]);
    expect(Number(variables[0]?.value?.[0])).toBeGreaterThan(0);
    for (const { path, value } of variables.slice(1)) {
      expect(sha256(value!), path).toBe(expected.get(`optimizer_variables/${path}`));
    }
  });

  it("loads from root, step and tree, and says what it left", async () => {
    for (const place of ["", "1", "1/pytree"]) {
      const model = modelFromConfig(configOf(name));
      const report = await model.loadWeights(join(root, name, place));
      expect(report).toMatchObject({ format: "orbax", missing: [], skipped: [], cast: [] });
      const taken = new Set(report.loaded);
      const rest = [...expected.keys()].filter((path) => !taken.has(path.slice(path.indexOf("/") + 1)));
      expect([...report.unexpected].sort()).toEqual(rest.sort());
      tally.under("orbax-places", place);
    }
  });
});

describe("full, by Keras on TensorFlow", () => {
  const path = join(root, "full");
  const weights = readNpz(join(root, "full.expected.npz"));

  const values = [...weights.values()].map(({ data }) => sha256(data));

  it("is a whole model", async () => {
    for (const model of [await loadModel(path), loadModelSync(join(path, "1"))]) {
      expect(model.getWeights().map(({ data }) => sha256(data))).toEqual(values);
      expect(model.optimizer?.className).toBe("Adam");
      // Scalars are stored as Python's numbers, wider than the variables.
      const [iteration, rate] = model.optimizer?.variables ?? [];
      expect([iteration?.dtype, rate?.dtype]).toEqual(["int64", "float32"]);
      expect(Number(iteration?.value?.[0])).toBeGreaterThan(0);
      expect(Number(rate?.value?.[0])).toBe(Math.fround(0.001));
      await using file = await openWeights(path);
      for (const { path: name, value } of model.optimizer?.variables.slice(2) ?? []) {
        expect(sha256(value!), name).toBe(sha256(file.get(`optimizer_variables/${name}`).data));
      }
    }
  });

  it("loads into a model of either Keras, under another name, and of other layers with a report", async () => {
    const make = (names: readonly string[], flavor: "keras2" | "keras3") =>
      sequential(
        [
          layers.input([3]),
          layers.dense(4, { name: names[0]! }),
          layers.batchNormalization({ name: "batch_normalization" }),
          layers.dense(2, { name: names[1]! }),
        ],
        { flavor, name: "another" },
      );
    for (const flavor of ["keras2", "keras3"] as const) {
      const model = make(["dense", "dense_1"], flavor);
      expect(await model.loadWeights(path)).toMatchObject({ missing: [], cast: [] });
      expect(model.getWeights().map(({ data }) => sha256(data))).toEqual(values);
    }
    const other = make(["dense", "head"], "keras3");
    const report = await other.loadWeights(path);
    expect(report.missing).toEqual(["another/head/kernel", "another/head/bias"]);
    expect(report.unexpected).toContain("trainable_variables/sequential/dense_1/kernel");
    expect(report.loaded).toHaveLength(6);
    tally.under("orbax-names", "head");

    const nothing = sequential([layers.input([3]), layers.dense(4, { name: "x" })]);
    await expect(nothing.loadWeights(path)).rejects.toMatchObject({ code: "ERR_WEIGHTS_NO_MATCH", format: "orbax" });
    const wide = sequential([layers.input([3]), layers.dense(5, { name: "dense" })]);
    await expect(wide.loadWeights(path)).rejects.toMatchObject({ code: "ERR_WEIGHTS_SHAPE" });
    const skipped = await wide.loadWeights(path, { skipMismatch: true, onWarning: () => undefined });
    expect(skipped.skipped.map(({ layer, reason }) => [layer, reason])).toEqual([["dense", "ERR_WEIGHTS_SHAPE"]]);
    await expect(wide.loadWeights(path, { byName: true })).rejects.toMatchObject({ code: "ERR_WEIGHTS_ARGUMENT" });
  });

  it("takes the latest step that is finished", async () => {
    const copy = join(folder, "steps");
    for (const step of ["9", "10"]) cpSync(join(path, "1"), join(copy, step), { recursive: true });
    for (const name of ["11.orbax-checkpoint-tmp", "12"]) mkdirSync(join(copy, name));
    rmSync(join(copy, "9", "pytree", "_METADATA"));
    const model = modelFromConfig(configOf("full"));
    expect(await model.loadWeights(copy)).toMatchObject({ format: "orbax", missing: [] });
    writeFileSync(join(copy, "10/pytree/_METADATA"), "{}");
    await expect(model.loadWeights(copy)).rejects.toMatchObject({ code: "ERR_WEIGHTS_CORRUPT" });
  });

  it("is not written", async () => {
    const model = modelFromConfig(configOf("full"));
    await expect(model.saveWeights(join(folder, "o"), { saveFormat: "orbax" })).rejects.toMatchObject({
      code: "ERR_WEIGHTS_FORMAT",
    });
  });
});

// Keras wrote only the weights: the model comes from elsewhere.
it.runIf(existsSync(join(root, "weights_only")))("weights_only, step by step", async () => {
  const expected = readNpz(join(root, "weights_only.expected.npz"));
  const model = modelFromConfig(configOf("full"));
  const report = await model.loadWeights(join(root, "weights_only"));
  expect(report).toMatchObject({ missing: [], unexpected: [] });
  const digests = [...expected.values()].map(({ data }) => sha256(data));
  expect(model.getWeights().map(({ data }) => sha256(data))).toEqual(digests);
  await model.loadWeights(join(root, "weights_only", "0"));
  expect(model.getWeights().map(({ data }) => sha256(data))).not.toEqual(digests);
  await expect(loadModel(join(root, "weights_only"))).rejects.toMatchObject({ code: "ERR_WEIGHTS_CONFIG" });
});

it("meets its rows of docs/compatibility.md", () => {
  expectRows("orbax", tally);
});
