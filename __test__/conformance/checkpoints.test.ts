/**
 * TensorFlow checkpoints and SavedModels by real Keras 2: loaded bit for bit through the object graph, written with the
 * same bytes, and mismatched models against one checkpoint, case by case with what Keras did.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe, expect, it, vi } from "vitest";
import {
  clearSession,
  isWeightsError,
  latestCheckpoint,
  layers,
  modelFromConfig,
  openWeights,
  sequential,
  type JsonObject,
  type Model,
} from "keras-weights";
import { corpusRoot, expectedOf, readJson, samples, sha256, type Sample } from "../support/corpus.ts";
import { expectRows, Tally } from "../support/compatibility.ts";
import { buildSample, canBuild } from "../support/zoo.ts";

const folder = mkdtempSync(join(tmpdir(), "kw-checkpoints-"));
const tally = new Tally();
let compared = 0;
let identical = 0;
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
  process.stderr.write(
    `conformance, checkpoints: ${compared} loaded bit for bit, ${identical} written byte for byte\n` +
      `conformance, checkpoint mismatches: ${tally.toString()}\n`,
  );
});

/** Paths of a sample's checkpoints, as a user would give them. */
function checkpoints(sample: Sample): string[] {
  const found = [];
  if (existsSync(join(sample.folder, "ckpt/w.index"))) found.push("ckpt/w");
  if (existsSync(join(sample.folder, "savedmodel/variables/variables.index"))) found.push("savedmodel");
  return found;
}

const two = samples().filter(
  (sample) => sample.flavor === "keras2" && canBuild(sample) && checkpoints(sample).length > 0,
);

/** What the model has of Keras' weights. */
function state(model: Model): string[] {
  return model.getWeights().map((tensor) => sha256(tensor.data));
}

describe.each(two.map((sample) => [sample.id, sample] as const))("%s", (_id, sample) => {
  const expected = expectedOf(sample).get_weights;

  it.each(checkpoints(sample))("%s", async (path) => {
    const model = buildSample(sample);
    const report = await model.loadWeights(join(sample.folder, path));
    expect(report).toMatchObject({ format: "tf_checkpoint", missing: [], unexpected: [], cast: [], skipped: [] });
    const found = state(model);
    expect(expected.map(({ index }) => found[index])).toEqual(expected.map((weight) => weight.sha256));
    compared += 1;
  });

  it.each(["save_weights", "checkpoint", "universal"] as const)("saves and reloads as %s", async (tfLayout) => {
    const model = buildSample(sample);
    await model.loadWeights(join(sample.folder, checkpoints(sample)[0]!));
    const prefix = join(folder, `${sample.model}-${sample.writer}-${tfLayout}`);
    const report = await model.saveWeights(prefix, { tfLayout });
    expect(report).toMatchObject({ format: "tf_checkpoint", path: prefix, tensors: model.weights.length });
    const again = buildSample(sample);
    expect(await again.loadWeights(prefix)).toMatchObject({ missing: [], unexpected: [] });
    expect(state(again)).toEqual(state(model));
    expect(await latestCheckpoint(folder)).toEqual({ path: prefix });
  });

  // The object graph names all that Keras tracks; a model that was called has a node for that as well.
  it("has Keras' object graph", async () => {
    const listed = join(sample.folder, "ckpt_keys.json");
    if (!existsSync(listed) || sample.model === "compiled_adam") return;
    const keys = readJson(listed) as Record<string, { keys: object }>;
    const keras = Object.keys(keys["ckpt/w"]?.keys ?? {});
    const prefix = join(folder, `${sample.model}-keys`);
    const model = buildSample(sample);
    await model.saveWeights(prefix);
    await using file = await openWeights(prefix);
    const ours = file.entries().map(({ path }) => path);
    expect(ours.sort()).toEqual(keras.sort());
  });
});

const bytes = resolve(fileURLToPath(import.meta.url), "../../fixtures/tf_bytes");

describe("the same bytes as tf_keras for a fresh prefix", () => {
  it.each(readdirSync(bytes))("%s", async (name) => {
    const sample = samples().find(({ id }) => id === `${name}/k2`);
    if (sample === undefined) throw new Error(`the corpus has no model ${name}`);
    // Names of variables go into the file, and made-up names count on from model to model.
    clearSession();
    const model = buildSample(sample);
    await model.loadWeights(join(bytes, name, "w"));
    const prefix = join(folder, `bytes-${name}`, "w");
    mkdirSync(join(folder, `bytes-${name}`));
    await model.saveWeights(prefix);
    for (const file of ["w.data-00000-of-00001", "w.index", "checkpoint"]) {
      const ours = readFileSync(join(folder, `bytes-${name}`, file));
      expect(ours.equals(readFileSync(join(bytes, name, file))), file).toBe(true);
    }
    identical += 1;
  });
});

describe("mismatches", () => {
  interface Case {
    target: string;
    format: string;
    file: string;
    kwargs: { skip_mismatch?: boolean; by_name?: boolean };
    exception?: { type: string; message: string };
    weights_after: [path: string, shape: number[], state: string][];
  }
  interface Matrix {
    source_weights: [string, number[], string][];
    targets: Record<string, object>;
    cases: Case[];
  }
  const matrix = readJson(join(corpusRoot, "_broken", "k2_matrix.json")) as Matrix;
  const values = new Map(matrix.source_weights.map(([path, , hash]) => [hash, path]));
  const cases = matrix.cases.filter(({ file }) => file.startsWith("k2_ckpt"));

  it("are recorded", () => {
    expect(cases.length).toBeGreaterThan(10);
  });

  it.each(cases.map((entry) => [`${entry.target} ${JSON.stringify(entry.kwargs)}`, entry] as const))(
    "%s",
    async (id, entry) => {
      const model = modelFromConfig(matrix.targets[entry.target]!);
      model.setWeights(model.weights.map((weight, k) => new Float32Array(weight.size).fill(-1 - k)));
      const before = state(model);
      let raised: string | undefined;
      try {
        await model.loadWeights(join(corpusRoot, "_broken", entry.file), {
          byName: entry.kwargs.by_name,
          skipMismatch: entry.kwargs.skip_mismatch,
        });
      } catch (error) {
        if (!isWeightsError(error)) throw error;
        raised = error.code;
      }
      const after = state(model).map((hash, k) =>
        hash === before[k] ? "unchanged" : values.has(hash) ? `loaded:${values.get(hash)}` : "other",
      );
      const keras = entry.weights_after.map(([, , found]) => found);
      const told = JSON.stringify({ keras: entry, ours: { raised, after } });
      if (entry.exception === undefined) expect(raised, told).toBeUndefined();
      else expect(raised, told).toBeDefined();
      if (after.every((found, k) => found === keras[k])) {
        tally.same += 1;
        return;
      }
      // Keras restores before it finds what is wrong.
      expect(entry.exception, told).toBeDefined();
      expect(
        after.every((found) => found === "unchanged"),
        told,
      ).toBe(true);
      tally.under("transaction", id);
    },
  );
});

describe("optimizers", () => {
  const sample = samples().find(({ id }) => id === "compiled_adam/k2");
  if (sample === undefined) throw new Error("the corpus has no compiled model");
  const theirs = join(sample.folder, "ckpt/w");
  const compiled = (optimizer: string | JsonObject) => {
    const model = modelFromConfig(readJson(join(sample.folder, "config.json")) as object);
    model.compile({ optimizer, loss: "mse" });
    return model;
  };
  const digests = (model: Model) => model.optimizer!.variables.map(({ value }) => value && sha256(value));
  /** Key, and digest of the values. */
  const tensors = async (prefix: string) => {
    await using file = await openWeights(prefix);
    const numbers = file.entries().filter(({ dtype }) => dtype !== "string");
    return new Map(
      numbers.map(({ path }) => [path.replace("/.ATTRIBUTES/VARIABLE_VALUE", ""), sha256(file.get(path).data)]),
    );
  };

  it("are restored with the weights, and saved under Keras' keys", async () => {
    const model = compiled("adam");
    const report = await model.loadWeights(theirs);
    expect(report).toMatchObject({ missing: [], unexpected: [] });
    const expected = await tensors(theirs);
    const { optimizer } = model;
    const keys = ["optimizer/_iterations", ...Array.from({ length: 12 }, (_, k) => `optimizer/_variables/${k + 1}`)];
    expect(digests(model)).toEqual(keys.map((key) => expected.get(key)));
    expect(Number(optimizer!.variables[0]?.value?.[0])).toBeGreaterThan(0);
    // A config says the rate as Keras prints it, and the checkpoint has another than the default.
    expect(optimizer!.getConfig()["learning_rate"]).toBeTypeOf("number");
    for (const [root, prefix] of [
      ["", "compiled"],
      ["model/", "compiled-below"],
    ] as const) {
      await model.saveWeights(join(folder, prefix), { tfLayout: root === "" ? "save_weights" : "checkpoint" });
      const ours = await tensors(join(folder, prefix));
      expect(ours).toEqual(new Map([...expected].map(([key, digest]) => [`${root}${key}`, digest])));
      const again = compiled("adam");
      await again.loadWeights(join(folder, prefix));
      expect(digests(again)).toEqual(digests(model));
    }
    await model.saveWeights(join(folder, "compiled-without"), { includeOptimizer: false });
    const without = await tensors(join(folder, "compiled-without"));
    expect([...without.keys()]).toEqual([...expected.keys()].filter((key) => !key.startsWith("optimizer/")));
    // Nothing was trained: what is there before the first step is all there is.
    await compiled("adam").saveWeights(join(folder, "compiled-fresh"));
    const fresh = [...(await tensors(join(folder, "compiled-fresh"))).keys()].filter((key) =>
      key.startsWith("optimizer"),
    );
    expect(fresh.sort()).toEqual(["optimizer/_iterations", "optimizer/_learning_rate"]);
  });

  it("are not asked for by a model that has none", async () => {
    const model = modelFromConfig(readJson(join(sample.folder, "config.json")) as object);
    const onWarning = vi.fn();
    expect(await model.loadWeights(theirs, { onWarning })).toMatchObject({ missing: [], unexpected: [] });
    expect(onWarning).not.toHaveBeenCalled();
  });

  it("checkpoint-optimizer: what does not fit is left with a warning, and the weights are loaded", async () => {
    const others: [string | JsonObject, RegExp][] = [
      ["sgd", /optimizer starts anew: .* shape/u],
      [{ class_name: "Adam", config: { name: "Adam", is_legacy_optimizer: true } }, /another Keras/u],
    ];
    for (const [other, message] of others) {
      const model = compiled(other);
      const warnings: { code: string; message: string }[] = [];
      const report = await model.loadWeights(theirs, { onWarning: (warning) => warnings.push(warning) });
      expect(report).toMatchObject({ missing: [], unexpected: [] });
      expect(warnings.map(({ code }) => code)).toEqual(["WARN_WEIGHTS_SKIPPED_OPTIMIZER"]);
      expect(warnings[0]?.message).toMatch(message);
      expect(model.optimizer!.variables.every(({ value }) => value === undefined)).toBe(true);
      tally.under("checkpoint-optimizer", JSON.stringify(other));
    }
    const model3 = sequential([layers.input([5]), layers.dense(4), layers.batchNormalization(), layers.dense(1)]);
    model3.compile({ optimizer: "adam", loss: "mse" });
    const onWarning = vi.fn();
    expect(await model3.loadWeights(theirs, { onWarning })).toMatchObject({ missing: [] });
    expect(onWarning).toHaveBeenCalledOnce();
    expect(model3.optimizer!.variables.every(({ value }) => value === undefined)).toBe(true);
  });

  it("of before Keras 2.11 hang their slots at the variables", async () => {
    const setting = { class_name: "Adam", config: { name: "Adam", learning_rate: 0.5, is_legacy_optimizer: true } };
    const model = compiled(setting);
    await model.loadWeights(theirs, { onWarning: () => undefined });
    await model.saveWeights(join(folder, "old-fresh"));
    expect([...(await tensors(join(folder, "old-fresh"))).keys()].some((key) => key.includes("optimizer"))).toBe(false);
    model.optimizer!.build(model.trainableWeights);
    model.optimizer!.variables.forEach((variable, k) => {
      variable.assign(
        variable.dtype === "int64" ? new BigInt64Array([7n]) : new Float32Array(variable.size).fill(k + 0.5),
      );
    });
    await model.saveWeights(join(folder, "old"));
    const keys = [...(await tensors(join(folder, "old"))).keys()].filter((key) => key.includes("optimizer"));
    const variables = ["0/kernel", "0/bias", "1/gamma", "1/beta", "2/kernel", "2/bias"];
    expect(keys.sort()).toEqual(
      [
        ...["iter", "beta_1", "beta_2", "decay", "learning_rate"].map((name) => `optimizer/${name}`),
        ...["m", "v"].flatMap((slot) =>
          variables.map((name) => `layer_with_weights-${name}/.OPTIMIZER_SLOT/optimizer/${slot}`),
        ),
      ].sort(),
    );
    const again = compiled({ ...setting, config: { ...setting.config, learning_rate: 0.25 } });
    expect(await again.loadWeights(join(folder, "old"))).toMatchObject({ missing: [], unexpected: [] });
    expect(digests(again)).toEqual(digests(model));
    expect(again.optimizer!.getConfig()).toMatchObject({ learning_rate: 0.5, beta_1: Math.fround(0.9) });
    const skipping = compiled(setting);
    await skipping.loadWeights(join(folder, "old"), { options: { experimental_skip_slot_variables: true } });
    expect(skipping.optimizer!.variables.map(({ value }) => value !== undefined)).toEqual([
      true,
      ...Array.from({ length: 12 }, () => false),
    ]);
  });

  it("options of TensorFlow that mean nothing here are named", async () => {
    const onWarning = vi.fn();
    const model = compiled("adam");
    await model.saveWeights(join(folder, "options"), {
      options: { experimental_io_device: "/job:localhost", experimental_sharding_callback: { max_shard_size: 128 } },
      onWarning,
    });
    expect(onWarning.mock.calls.map(([warning]) => (warning as { code: string }).code)).toEqual([
      "WARN_WEIGHTS_IGNORED_OPTION",
    ]);
    expect(readdirSync(folder).filter((name) => name.startsWith("options.data-")).length).toBeGreaterThan(1);
    const wrong = { options: { device: "x" } } as object;
    await expect(model.saveWeights(join(folder, "options"), wrong)).rejects.toMatchObject({
      code: "ERR_WEIGHTS_ARGUMENT",
    });
  });
});

describe("where we differ on purpose", () => {
  const make = (flavor: "keras2" | "keras3", options: object = {}) =>
    sequential([layers.input([3]), layers.dense(2, { name: "d", ...options })], { flavor });
  const ones = (model: Model) => {
    model.setWeights(model.weights.map(({ size }) => new Float32Array(size).fill(1)));
    return model;
  };

  it("checkpoint-root: the model is found at the root and below it, whichever Keras it is of", async () => {
    for (const [from, to] of [
      ["keras2", "keras3"],
      ["keras3", "keras2"],
    ] as const) {
      for (const tfLayout of ["save_weights", "checkpoint"] as const) {
        const prefix = join(folder, `root-${from}-${tfLayout}`);
        await ones(make(from)).saveWeights(prefix, { tfLayout });
        const model = make(to);
        expect(await model.loadWeights(prefix)).toMatchObject({ missing: [], unexpected: [] });
        expect(model.getWeights().every(({ data }) => [...data].every((value) => value === 1))).toBe(true);
        tally.under("checkpoint-root", prefix);
      }
    }
  });

  it("checkpoint-nothing: a load that gives no weight a value is an error", async () => {
    const prefix = join(folder, "nothing");
    await ones(make("keras2")).saveWeights(prefix);
    const other = sequential([layers.input([3]), layers.prelu()], { flavor: "keras2" });
    await expect(other.loadWeights(prefix)).rejects.toMatchObject({ code: "ERR_WEIGHTS_NO_MATCH" });
    tally.under("checkpoint-nothing", "prelu");
  });

  it("checkpoint-cast: another dtype is an error unless asked for", async () => {
    const prefix = join(folder, "cast");
    await ones(make("keras2")).saveWeights(prefix);
    const half = make("keras2", { dtype: "float16" });
    await expect(half.loadWeights(prefix)).rejects.toMatchObject({ code: "ERR_WEIGHTS_DTYPE" });
    const report = await half.loadWeights(prefix, { cast: true });
    expect(report.cast.map(({ from, to }) => [from, to])).toEqual([
      ["float32", "float16"],
      ["float32", "float16"],
    ]);
    expect(half.getWeights().map((tensor) => tensor.toFloat32()[0])).toEqual([1, 1]);
    tally.under("checkpoint-cast", "float16");
  });

  it("checkpoint-overwrite: new data under free numbers, the old ones gone afterwards", async () => {
    const inside = mkdtempSync(join(folder, "overwrite-"));
    const prefix = join(inside, "w");
    await make("keras2").saveWeights(prefix);
    expect(readdirSync(inside).sort()).toEqual(["checkpoint", "w.data-00000-of-00001", "w.index"]);
    await ones(make("keras2")).saveWeights(prefix);
    expect(readdirSync(inside).sort()).toEqual(["checkpoint", "w.data-00000-of-00002", "w.index"]);
    await expect(make("keras2").saveWeights(prefix, { overwrite: false })).rejects.toMatchObject({
      code: "ERR_WEIGHTS_EXISTS",
    });
    await ones(make("keras2")).saveWeights(prefix, { maxShardBytes: 8 });
    expect(readdirSync(inside).filter((name) => name.includes(".data-"))).toHaveLength(3);
    const model = make("keras2");
    await model.loadWeights(prefix);
    expect(model.getWeights().every(({ data }) => [...data].every((value) => value === 1))).toBe(true);
    tally.under("checkpoint-overwrite", "w");
  });
});

it("meets its rows of docs/compatibility.md", () => {
  expectRows("checkpoints", tally);
});
