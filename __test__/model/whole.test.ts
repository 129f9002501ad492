// Whole models: loaded from the files of real Keras, saved, and loaded again.
import { copyFileSync, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import {
  clearSession,
  describe,
  isWeightsError,
  Layer,
  layers,
  loadModel,
  loadModelSync,
  Model,
  modelFromConfig,
  openWeights,
  registerLayer,
  sequential,
  type Shape,
  type WeightsWarning,
} from "keras-weights";
import { afterAll, expect, test } from "vitest";

import { expectRows, Tally } from "../support/compatibility.ts";
import { configOf, corpusRoot, expectedOf, mergesOnSaving, samples, sha256, type Sample } from "../support/corpus.ts";
import { canonical } from "./canonical.ts";

const tally = new Tally();
const folder = mkdtempSync(join(tmpdir(), "kw-whole-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const names = ["full.h5", "legacy_full.h5", "model.keras", "v3.keras"];

const files = samples().flatMap((sample) =>
  names.filter((name) => existsSync(join(sample.folder, name))).map((name) => ({ sample, name })),
);

/** Classes of ours that some of Keras' models are made of: no config can say what they are. */
const custom = /^(subclassed|nested_containers|functional_with_attrs)$/u;

function digests(model: Model): string[] {
  return model.getWeights().map(({ data }) => sha256(data));
}

async function merged(sample: Sample): Promise<string[]> {
  const model = modelFromConfig(configOf(sample)!);
  await model.loadWeights(join(sample.folder, "model.weights.h5"));
  return digests(model);
}

function expected(sample: Sample): string[] {
  return expectedOf(sample).get_weights.map((weight) => weight.sha256);
}

function adam(flavor: "k2" | "k3"): string {
  return join(corpusRoot, "compiled_adam", flavor, flavor === "k2" ? "full.h5" : "legacy_full.h5");
}

test("there are files of both Kerases", () => {
  expect(files.length).toBeGreaterThan(10);
});

test.each(files.map(({ sample, name }) => ({ sample, name, title: `${sample.id} ${name}` })))(
  "$title",
  async ({ sample, name }) => {
    const path = join(sample.folder, name);
    const warnings: WeightsWarning[] = [];
    const onWarning = (warning: WeightsWarning): number => warnings.push(warning);
    if (custom.test(sample.model)) {
      await expect(loadModel(path)).rejects.toSatisfy(
        (error) => isWeightsError(error, "ERR_WEIGHTS_UNKNOWN_LAYER") || isWeightsError(error, "ERR_WEIGHTS_CONFIG"),
      );
      return;
    }
    // Automatic names of layers inside layers count up within a process.
    clearSession();
    const model = await loadModel(path, { onWarning });
    expect(warnings).toEqual([]);
    expect(model.flavor).toBe(sample.flavor);
    // An archive of a model with low-rank updates has them merged: what such a model is then, its weights file says too.
    const wanted = mergesOnSaving(sample) && name === "model.keras" ? await merged(sample) : expected(sample);
    const found = digests(model);
    expect(expectedOf(sample).get_weights.map(({ index }) => found[index])).toEqual(wanted);
    // Legacy files name the weights of a class that nobody declared, and do not say where an archive has them.
    const suffixes = sample.model === "many_weights" ? ["h5"] : ["h5", "keras"];
    for (const suffix of suffixes) {
      const copy = join(folder, `copy.${suffix}`);
      const report = await model.save(copy);
      expect(report.format).toBe(suffix === "h5" ? "legacy_h5" : "keras");
      clearSession();
      const again = await loadModel(copy, { onWarning });
      expect(warnings).toEqual([]);
      if (suffix === "h5" || !mergesOnSaving(sample)) expect(digests(again)).toEqual(digests(model));
      expect(canonical(describe(again).tree)).toEqual(canonical(describe(model).tree));
      expect(meaning(again.toJSON())).toEqual(meaning(model.toJSON()));
      expect(optimizerState(again)).toEqual(optimizerState(model));
      if (model.optimizer !== undefined && suffix === "h5") tally.under("h5-training", `${sample.id} ${name}`);
    }
  },
);

/** A config without what HDF5 files do not keep: modules, build shapes, and numbers of shared objects. */
function meaning(config: unknown): unknown {
  const left = new Set([
    "module",
    "registered_name",
    "build_config",
    "shared_object_id",
    "keras_version",
    "compile_config",
  ]);
  if (Array.isArray(config)) return config.map(meaning);
  if (typeof config !== "object" || config === null) return config;
  const entries = Object.entries(config).filter(([key]) => !left.has(key));
  return Object.fromEntries(entries.map(([key, value]) => [key, meaning(value)]));
}

function optimizerState(model: Model): unknown {
  const { optimizer } = model;
  return optimizer && [optimizer.serialize(), optimizer.variables.map((v) => [v.path, v.shape, sha256(v.read())])];
}

const warned = (): { warnings: WeightsWarning[]; onWarning: (warning: WeightsWarning) => void } => {
  const warnings: WeightsWarning[] = [];
  return { warnings, onWarning: (warning) => warnings.push(warning) };
};

test.each([
  ["k2", 13, 3n],
  ["k3", 14, 3n],
] as const)("the optimizer of compiled_adam %s", (short, count, steps) => {
  const model = loadModelSync(adam(short));
  const { optimizer } = model;
  expect(optimizer?.className).toBe("Adam");
  expect(optimizer?.variables.length).toBe(count);
  expect(optimizer?.variables[0]?.read()[0]).toBe(steps);
  expect(optimizer?.getConfig()["learning_rate"]).toBe(0.009999999776482582);
  const slots = optimizer!.variables.slice(short === "k2" ? 1 : 2);
  expect(slots.every((slot) => slot.value?.some((value) => value !== 0))).toBe(true);
});

test("without its training", async () => {
  const model = await loadModel(adam("k3"), { compile: false });
  expect(model.optimizer).toBeUndefined();
  const bare = join(folder, "bare.h5");
  await model.save(bare);
  const file = await openWeights(bare);
  expect(Object.keys(file.attributes())).not.toContain("training_config");
  expect(file.groups()).not.toContain("optimizer_weights");
  expect((await loadModel(bare)).optimizer).toBeUndefined();

  const trained = await loadModel(adam("k3"));
  await trained.save(bare, { includeOptimizer: false });
  expect((await loadModel(bare)).optimizer).toBeUndefined();
});

test.each(["k2", "k3"] as const)("what a whole-model file of %s says at its root", async (short) => {
  const path = join(folder, "root.h5");
  await (await loadModel(adam(short))).save(path);
  const [ours, theirs] = [await openWeights(path), await openWeights(adam(short))];
  const [mine, keras] = [ours.attributes(), theirs.attributes()];
  // Ours has a digest of these texts beside them, which Keras does not look at.
  expect(Object.keys(mine).sort()).toEqual([...Object.keys(keras), "kw_crc32c"].sort());
  const parsed = (value: unknown): unknown => JSON.parse(value as string);
  expect(parsed(mine["model_config"])).toEqual(parsed(keras["model_config"]));
  // Keras 3 does not find its own short names again when it loads.
  const long = JSON.stringify(parsed(keras["training_config"]))
    .replace('"loss":"mse"', '"loss":"mean_squared_error"')
    .replace('"metrics":["mae"]', '"metrics":["mean_absolute_error"]');
  expect(parsed(mine["training_config"])).toEqual(short === "k3" ? JSON.parse(long) : parsed(keras["training_config"]));
  if (short === "k3") tally.under("h5-loss-names", "compiled_adam");
  expect(ours.attributes("optimizer_weights")).toEqual(theirs.attributes("optimizer_weights"));
  expect(ours.attributes("model_weights")).toEqual(theirs.attributes("model_weights"));
});

test("files of layers go from archive to archive, and nowhere else", async () => {
  const from = join(corpusRoot, "text_vectorization/k3/model.keras");
  const paths = ["_lookup_layer/vocabulary.txt", "vocabulary.txt"].map(
    (name) => `assets/layers/text_vectorization/${name}`,
  );
  const held = (model: Model) => model.assets.map(({ path, bytes }) => [path, Buffer.from(bytes).toString()]);
  const model = await loadModel(from);
  expect(model.assets.map(({ path }) => path)).toEqual(paths);
  expect(held(model).every(([, text]) => text!.split("\n").length > 2)).toBe(true);
  const [copy, h5] = ["words.keras", "words.h5"].map((name) => join(folder, name));
  await model.save(copy!);
  expect(held(loadModelSync(copy!))).toEqual(held(model));
  // In place of itself: what is written was read before.
  const again = await loadModel(copy!);
  await again.save(copy!);
  expect(held(await loadModel(copy!))).toEqual(held(model));
  await model.save(h5!);
  expect(held(await loadModel(h5!))).toEqual([]);
});

test("weights files of compiled models keep the optimizer where Keras keeps it", async () => {
  const model = await loadModel(adam("k3"));
  const [weights, legacy] = [join(folder, "c.weights.h5"), join(folder, "c.h5")];
  await model.saveWeights(weights);
  await model.saveWeights(legacy);
  const file = await openWeights(weights);
  expect(file.entries().filter(({ path }) => path.startsWith("optimizer/vars/")).length).toBe(14);
  expect(file.attributes("optimizer/vars")).toEqual({ name: "adam" });
  expect((await openWeights(legacy)).groups().filter((path) => path.includes("optimizer"))).toEqual([]);

  const { warnings, onWarning } = warned();
  const other = modelFromConfig(model.toJSON());
  other.compile({ optimizer: { class_name: "Adam", config: { learning_rate: 0.5 } }, loss: "mse" });
  await other.loadWeights(weights, { onWarning });
  expect(warnings).toEqual([]);
  expect(other.optimizer?.getConfig()["learning_rate"]).toBe(0.009999999776482582);
  expect(digestsOf(other)).toEqual(digestsOf(model));

  await model.saveWeights(weights, { includeOptimizer: false });
  expect((await openWeights(weights)).groups().filter((path) => path.includes("optimizer"))).toEqual([]);
});

function digestsOf(model: Model): string[] | undefined {
  return model.optimizer?.variables.map((variable) => sha256(variable.read()));
}

test("another number of optimizer variables is a warning", async () => {
  const { warnings, onWarning } = warned();
  const model = await loadModel(adam("k3"));
  const weights = join(folder, "d.weights.h5");
  await model.saveWeights(weights);
  model.compile({ optimizer: "adagrad" });
  const report = await model.loadWeights(weights, { onWarning });
  expect(warnings.map(({ code }) => code)).toEqual(["WARN_WEIGHTS_SKIPPED_OPTIMIZER"]);
  expect(report.loaded.length).toBe(8);
  expect(model.optimizer?.variables[0]?.value).toBeUndefined();
});

test("a model that was only compiled", async () => {
  const model = sequential([layers.input([3]), layers.dense(2)]);
  model.compile({ optimizer: { class_name: "SGD", config: { learning_rate: 1, momentum: 0.5 } }, loss: "mse" });
  const path = join(folder, "fresh.h5");
  await model.save(path);
  const file = await openWeights(path);
  expect(file.attributes("optimizer_weights")["weight_names"]).toEqual(
    ["SGD/iteration", "SGD/learning_rate"].map((name) => name.replace("SGD", "sgd")),
  );
  // Keras takes no integer for a learning rate.
  expect(file.attributes()["training_config"]).toContain('"learning_rate":1.0');
  const { warnings, onWarning } = warned();
  const again = await loadModel(path, { onWarning });
  expect(warnings).toEqual([]);
  expect(again.optimizer?.getConfig()).toMatchObject({ learning_rate: 1, momentum: 0.5, name: "sgd" });
});

test("an optimizer of an unknown class goes through as data", async () => {
  const model = await loadModel(adam("k3"));
  const path = join(folder, "own.h5");
  await model.save(path);
  // The class name in the file, by another one of the same length.
  const bytes = readFileSync(path);
  const at = bytes.indexOf('"class_name":"Adam"');
  bytes.write('"class_name":"Mine"', at);
  const own = await loadModel(new Uint8Array(bytes), { verify: "off" });
  expect(own.optimizer?.className).toBe("Mine");
  expect(own.optimizer?.variables.map((variable) => variable.path)).toEqual(
    model.optimizer?.variables.map((variable) => variable.path),
  );
  expect(digestsOf(own)).toEqual(digestsOf(model));
  tally.under("unknown-optimizer", "compiled_adam");
});

test("what metrics counted is Keras 2's to keep: its files load, ours do without", async () => {
  const theirs = join(corpusRoot, "compiled_adam", "k2", "v3.weights.h5");
  const counted = (paths: readonly string[]): string[] => paths.filter((path) => path.startsWith("metrics/"));
  expect(counted((await openWeights(theirs)).groups())).toContain("metrics/mean/vars");
  const { warnings, onWarning } = warned();
  const model = await loadModel(adam("k2"));
  await model.loadWeights(theirs, { onWarning });
  expect(warnings).toEqual([]);
  const ours = join(folder, "metrics.weights.h5");
  await model.saveWeights(ours);
  expect(counted((await openWeights(ours)).groups())).toEqual([]);
  tally.under("metric-state", "compiled_adam");
});

test("a file of weights alone", async () => {
  const file = join(corpusRoot, "mnist_dense", "k3", "model.weights.h5");
  await expect(loadModel(file)).rejects.toMatchObject({
    code: "ERR_WEIGHTS_CONFIG",
    message: `${file} has no model config: it holds weights alone. Build the model and use model.loadWeights()`,
  });
  expect(() => loadModelSync(file)).toThrow("has no model config");
});

test("unknown layers are named, registered ones are made", async () => {
  const path = join(folder, "scale.h5");
  class WholeScale extends Layer {
    static override readonly className = "WholeScale";
    override build(): void {
      this.addWeight({ name: "scale", shape: [], initializer: "ones" });
    }
  }
  const model = sequential([layers.input([3]), new WholeScale(), layers.dense(2)]);
  await model.save(path);
  // The file says what weights it has, and those of the layer behind it say what shape it gives.
  const known = await loadModel(path);
  expect(digests(known)).toEqual(digests(model));
  const copy = join(folder, "scale-copy.h5");
  await known.save(copy);
  await expect(known.save(join(folder, "scale.keras"))).rejects.toMatchObject({ code: "ERR_WEIGHTS_UNKNOWN_LAYER" });
  registerLayer(WholeScale);
  for (const file of [path, copy]) expect(digests(await loadModel(file))).toEqual(digests(model));
});

test("names that are of no whole model, and classes without a config", async () => {
  const model = sequential([layers.input([3]), layers.dense(2)]);
  await expect(model.save(join(folder, "x"))).rejects.toMatchObject({ code: "ERR_WEIGHTS_FORMAT" });
  class Own extends Model {
    static override readonly className = "Own";
    dense = layers.dense(2);
    override build(shape: Shape): void {
      this.dense.build(shape);
    }
  }
  const own = new Own();
  own.build([null, 3]);
  await expect(own.save(join(folder, "own.h5"))).rejects.toMatchObject({ code: "ERR_WEIGHTS_CONFIG" });
});

test("an existing file stays when it may not be replaced", async () => {
  const model = sequential([layers.input([3]), layers.dense(2)]);
  const path = join(folder, "kept.h5");
  copyFileSync(adam("k3"), path);
  await expect(model.save(path, { overwrite: false })).rejects.toMatchObject({ code: "ERR_WEIGHTS_EXISTS" });
  expect(readFileSync(path)).toEqual(readFileSync(adam("k3")));
});

test("every row of docs/compatibility.md about whole models covers a case", () => {
  expectRows("whole", tally);
});
