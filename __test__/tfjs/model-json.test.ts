// Layers models of TensorFlow.js as files: ours read by TensorFlow.js, TensorFlow.js' own read by us.
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { convert, loadModel, modelFromConfig, openWeights, type Model } from "keras-weights";
import { afterAll, describe, expect, it } from "vitest";

import { loadLayersModel, registerLayers, translateConfig } from "../../ts/tfjs/index.ts";
import { corpusModels, readJson } from "../model/corpus.ts";
import { failure } from "../robustness/support.ts";
import { predictionError, tf } from "./predictions.ts";

const root = mkdtempSync(join(tmpdir(), "kw-model-json-"));
afterAll(() => {
  rmSync(root, { recursive: true, force: true });
});
// Keras' GRU, which TensorFlow.js has not.
registerLayers(tf);
let folders = 0;
function folder(): string {
  const path = join(root, String((folders += 1)));
  mkdirSync(path);
  return path;
}

interface ModelJson {
  modelTopology: object | null;
  weightsManifest: { paths: string[]; weights: tf.io.WeightsManifestEntry[] }[];
}

/** A model.json and its files, as TensorFlow.js' loaders for files and pages read them. */
function artifacts(directory: string): tf.io.ModelArtifacts & { paths: string[] } {
  const json = readJson(join(directory, "model.json")) as ModelJson;
  const paths = json.weightsManifest.flatMap((group) => group.paths);
  const data = Buffer.concat(paths.map((path) => readFileSync(join(directory, path))));
  return {
    modelTopology: json.modelTopology ?? {},
    weightSpecs: json.weightsManifest.flatMap((group) => group.weights),
    weightData: data.buffer.slice(data.byteOffset, data.byteOffset + data.byteLength),
    paths,
  };
}

async function readByTfjs(directory: string): Promise<tf.LayersModel> {
  return tf.loadLayersModel({ load: () => Promise.resolve(artifacts(directory)) });
}

/** What TensorFlow.js saves of a model, its bytes in files of `size` that end anywhere. */
async function writeByTfjs(
  model: tf.LayersModel,
  directory: string,
  size: number,
  includeOptimizer = false,
): Promise<void> {
  const handler = tf.io.withSaveHandler((saved) => {
    const { weightData, weightSpecs, ...rest } = saved;
    const data = new Uint8Array(weightData as ArrayBuffer);
    const paths: string[] = [];
    for (let at = 0; at < Math.max(1, data.length); at += size) {
      paths.push(`group1-shard${paths.length + 1}.bin`);
      writeFileSync(join(directory, paths.at(-1)!), data.subarray(at, at + size));
    }
    writeFileSync(
      join(directory, "model.json"),
      JSON.stringify({ ...rest, weightsManifest: [{ paths, weights: weightSpecs }] }),
    );
    return Promise.resolve({ modelArtifactsInfo: { dateSaved: new Date(), modelTopologyType: "JSON" } });
  });
  await model.save(handler, { includeOptimizer });
}

const values = (model: Model): unknown[] =>
  model.getWeights().map(({ name, shape, dtype, data }) => [name, [...shape], dtype, Array.from(data as Float32Array)]);

const models = corpusModels("config.json").filter(
  ({ folder: from }) => translateConfig(readJson(join(from, "config.json")) as object).refused.length === 0,
);

describe("models of Keras", () => {
  it("are not all refused", () => {
    expect(models.length).toBeGreaterThanOrEqual(3);
  });

  it.each(models)("$id goes to TensorFlow.js and back", async ({ folder: from, flavor }) => {
    const config = readFileSync(join(from, "config.json"), "utf8");
    const file = join(from, flavor === "keras2" ? "weights.h5" : "model.weights.h5");
    const model = modelFromConfig(config);
    await model.loadWeights(file);

    const ours = folder();
    const report = await model.save(join(ours, "model.json"), { maxShardBytes: 1000 });
    expect(report).toMatchObject({ format: "tfjs_layers", tensors: model.weights.length });
    const read = await readByTfjs(ours);
    expect(predictionError(read, from)).toBeLessThanOrEqual(1e-5);
    const again = modelFromConfig(config);
    const loaded = await again.loadWeights(join(ours, "model.json"));
    expect(loaded).toMatchObject({ format: "tfjs_layers", missing: [], unexpected: [], cast: [] });
    expect(values(again)).toEqual(values(model));

    const theirs = folder();
    await writeByTfjs(read, theirs, 1234);
    const back = modelFromConfig(config);
    expect(await back.loadWeights(join(theirs, "model.json"))).toMatchObject({ missing: [], unexpected: [] });
    expect(values(back)).toEqual(values(model));
    read.dispose();
  });

  const whole = models.flatMap((model) =>
    ["full.h5", "legacy_full.h5", "v3.keras", "model.keras"]
      .filter((name) => existsSync(join(model.folder, name)))
      .map((name) => ({ ...model, name })),
  );
  it.each(whole)("$id is converted as a whole, from $name", async ({ folder: from, name }) => {
    const file = join(from, name);
    const target = folder();
    const report = await convert(file, join(target, "model.json"));
    expect(report).toMatchObject({ format: "tfjs_layers", overflowed: {}, cast: [] });
    const read = await readByTfjs(target);
    expect(predictionError(read, from)).toBeLessThanOrEqual(1e-5);
    read.dispose();
    // And to Keras' archive from there, without anything else.
    const archive = join(target, "back.keras");
    expect(await convert(join(target, "model.json"), archive)).toMatchObject({ format: "keras", leftOut: {} });
    const expected = await loadModel(file, { compile: false });
    const sorted = (model: Model): unknown[] => model.getWeights().map(({ data }) => Array.from(data as Float32Array));
    expect(sorted(await loadModel(archive))).toEqual(sorted(expected));
  });
});

describe("a model of TensorFlow.js", () => {
  /** Layers that keep their weights in other orders than Keras when they are frozen, and automatic names. */
  function trained(): tf.Sequential {
    const model = tf.sequential({
      layers: [
        tf.layers.dense({ units: 3, inputShape: [4] }),
        tf.layers.batchNormalization(),
        tf.layers.dense({ units: 3, trainable: false }),
        tf.layers.dense({ units: 3 }),
      ],
    });
    for (const weight of model.weights) weight.write(tf.randomUniform(weight.shape as number[], 0, 1, "float32", 7));
    return model;
  }

  it("is loaded by the order of its layers when names differ, optimizer beside it", async () => {
    const model = trained();
    model.compile({ optimizer: tf.train.adam(), loss: "meanSquaredError" });
    await model.fit(tf.ones([2, 4]), tf.ones([2, 3]), { epochs: 1 });
    const directory = folder();
    await writeByTfjs(model, directory, 50, true);
    const wanted = model.layers.flatMap((layer) => layer.getWeights().map((tensor) => Array.from(tensor.dataSync())));

    const whole = await loadModel(join(directory, "model.json"));
    expect(whole.flavor).toBe("keras2");
    expect(whole.layers.map(({ name }) => name)).toEqual(model.layers.map(({ name }) => name));
    expect(whole.getLayer(2).trainable).toBe(false);
    expect(whole.getWeights().map(({ data }) => Array.from(data as Float32Array))).toEqual(wanted);

    const other = modelFromConfig(
      JSON.stringify(whole.toJSON())
        .replaceAll(/dense_Dense(\d)/gu, "renamed_$1")
        .replaceAll("batch_normalization_", "norm_"),
    );
    const report = await other.loadWeights(join(directory, "model.json"));
    expect(report.missing).toEqual([]);
    expect(report.unexpected.length).toBeGreaterThan(8);
    expect(other.getWeights().map(({ data }) => Array.from(data as Float32Array))).toEqual(wanted);
  });
});

/** Values of every dtype and quantization that TensorFlow.js reads, with odd sizes so that nothing is aligned. */
function everyKind(): { weights: object[]; data: Buffer } {
  const bytes = (length: number): number[] => Array.from({ length }, (_, k) => (k * 37 + 11) % 256);
  const affine = (dtype: string, scale: number, min: number): object => ({ quantization: { dtype, scale, min } });
  const parts: [object, Buffer][] = [
    [{ name: "b", shape: [3], dtype: "bool" }, Buffer.from([1, 0, 1])],
    [
      { name: "f", shape: [2, 3], dtype: "float32" },
      Buffer.from(Float32Array.from([1, -2, 3.5, NaN, Infinity, -0]).buffer),
    ],
    [{ name: "i", shape: [2], dtype: "int32" }, Buffer.from(Int32Array.from([-7, 1 << 30]).buffer)],
    [{ name: "scalar", shape: [], dtype: "float32" }, Buffer.from(Float32Array.of(0.1).buffer)],
    [{ name: "empty", shape: [0, 4], dtype: "float32" }, Buffer.alloc(0)],
    [{ name: "u8", shape: [5], dtype: "float32", ...affine("uint8", 0.1, -3.3) }, Buffer.from(bytes(5))],
    [{ name: "u16", shape: [3], dtype: "float32", ...affine("uint16", 0.001, 2) }, Buffer.from(bytes(6))],
    [{ name: "i8", shape: [4], dtype: "int32", ...affine("uint8", 0.5, -20) }, Buffer.from([0, 1, 3, 255])],
    [{ name: "i16", shape: [2], dtype: "int32", ...affine("uint16", 3, -5) }, Buffer.from(bytes(4))],
    [
      { name: "half", shape: [6], dtype: "float32", quantization: { dtype: "float16" } },
      Buffer.from(Uint16Array.from([0x3c00, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0x8000]).buffer),
    ],
    [{ name: "c", shape: [1], dtype: "complex64" }, Buffer.from(Float32Array.from([1, -1]).buffer)],
  ];
  return { weights: parts.map(([spec]) => spec), data: Buffer.concat(parts.map(([, part]) => part)) };
}

/** Writes a model.json over files of the given sizes; what is left over goes into the last. */
function write(weights: object[], data: Buffer, sizes: readonly number[]): string {
  const directory = folder();
  const paths = [...sizes, data.length].map((_, index) => `part${index}.bin`);
  let at = 0;
  paths.forEach((path, index) => {
    const end = index < sizes.length ? at + sizes[index]! : data.length;
    writeFileSync(join(directory, path), data.subarray(at, end));
    at = end;
  });
  writeFileSync(join(directory, "model.json"), JSON.stringify({ weightsManifest: [{ paths, weights }] }));
  return join(directory, "model.json");
}

describe("values", () => {
  it.each([[[]], [[1, 0, 6]], [[10, 10, 10, 10]], [[40, 7]]])(
    "of every kind, over files of %j bytes",
    async (sizes) => {
      const { weights, data } = everyKind();
      const expected = tf.io.decodeWeights(
        data.buffer.slice(data.byteOffset, data.byteOffset + data.length) as ArrayBuffer,
        weights as tf.io.WeightsManifestEntry[],
      );
      const file = await openWeights(write(weights, data, sizes));
      expect(file.format).toBe("tfjs_layers");
      expect(file.entries().map(({ path }) => path)).toEqual(weights.map((spec) => (spec as { name: string }).name));
      for (const entry of file.entries()) {
        const tensor = await file.read(entry.path);
        const wanted = expected[entry.path]!;
        expect([tensor.dtype, [...tensor.shape]], entry.path).toEqual([wanted.dtype, wanted.shape]);
        if (wanted.dtype === "complex64") continue;
        // Bits, not numbers: -0 and NaN count.
        const bits = (array: ArrayBufferView): Uint8Array =>
          new Uint8Array(array.buffer.slice(array.byteOffset, array.byteOffset + array.byteLength));
        expect(bits(tensor.data), entry.path).toEqual(bits(wanted.dataSync()));
      }
      file.close();
    },
  );

  it("in half precision are a quantization, and are read as TensorFlow.js reads them", async () => {
    const [model] = models;
    const source = join(model!.folder, model!.flavor === "keras2" ? "weights.h5" : "model.weights.h5");
    const target = folder();
    const report = await convert(source, join(target, "model.json"), { dtype: "float16", whole: false });
    expect(report.cast.length).toBe(report.tensors);
    expect(report.cast[0]).toMatchObject({ from: "float32", to: "float16" });
    const { weightData, weightSpecs } = artifacts(target);
    const expected = tf.io.decodeWeights(weightData as ArrayBuffer, weightSpecs!);
    const file = await openWeights(join(target, "model.json"));
    for (const { path, dtype } of file.entries()) {
      expect(dtype).toBe("float32");
      expect((await file.read(path)).data).toEqual(expected[path]!.dataSync());
    }
    file.close();
  });
});

const dense = { name: "d/kernel", shape: [2], dtype: "float32" };
const four = { dtype: "uint8", scale: 1, min: 0 };
const hostile: readonly [what: string, json: unknown, code: string][] = [
  ["a path upwards", { paths: ["../a.bin"], weights: [dense] }, "ERR_WEIGHTS_CORRUPT"],
  ["an absolute path", { paths: ["/etc/passwd"], weights: [dense] }, "ERR_WEIGHTS_CORRUPT"],
  ["a path for Windows", { paths: ["..\\a.bin"], weights: [dense] }, "ERR_WEIGHTS_CORRUPT"],
  ["an address", { paths: ["http://a/b.bin"], weights: [dense] }, "ERR_WEIGHTS_CORRUPT"],
  ["no path", { paths: [7], weights: [dense] }, "ERR_WEIGHTS_CORRUPT"],
  ["a file that is not there", { paths: ["b.bin"], weights: [dense] }, "ERR_WEIGHTS_NOT_FOUND"],
  ["too few bytes", { paths: ["a.bin"], weights: [{ ...dense, shape: [3] }] }, "ERR_WEIGHTS_TRUNCATED"],
  ["bytes left over", { paths: ["a.bin"], weights: [{ ...dense, shape: [1] }] }, "ERR_WEIGHTS_CORRUPT"],
  [
    "a shape beyond 64 bits",
    { paths: ["a.bin"], weights: [{ ...dense, shape: [2 ** 40, 2 ** 40] }] },
    "ERR_WEIGHTS_CORRUPT",
  ],
  ["a huge shape", { paths: ["a.bin"], weights: [{ ...dense, shape: [2 ** 40] }] }, "ERR_WEIGHTS_TRUNCATED"],
  ["a negative shape", { paths: ["a.bin"], weights: [{ ...dense, shape: [-2] }] }, "ERR_WEIGHTS_CORRUPT"],
  ["no shape", { paths: ["a.bin"], weights: [{ name: "d", dtype: "float32" }] }, "ERR_WEIGHTS_CORRUPT"],
  ["no name", { paths: ["a.bin"], weights: [{ shape: [2], dtype: "float32" }] }, "ERR_WEIGHTS_CORRUPT"],
  [
    "two of one name",
    { paths: ["a.bin"], weights: [1, 1].map(() => ({ ...dense, shape: [1] })) },
    "ERR_WEIGHTS_CORRUPT",
  ],
  ["another dtype", { paths: ["a.bin"], weights: [{ ...dense, dtype: "float64" }] }, "ERR_WEIGHTS_UNSUPPORTED"],
  [
    "another quantization",
    { paths: ["a.bin"], weights: [{ ...dense, quantization: { dtype: "int4" } }] },
    "ERR_WEIGHTS_UNSUPPORTED",
  ],
  [
    "a quantization without min",
    { paths: ["a.bin"], weights: [{ ...dense, quantization: { ...four, min: null } }] },
    "ERR_WEIGHTS_CORRUPT",
  ],
  [
    "half precision of integers",
    { paths: ["a.bin"], weights: [{ ...dense, dtype: "int32", quantization: { dtype: "float16" } }] },
    "ERR_WEIGHTS_UNSUPPORTED",
  ],
  [
    "a string behind the end",
    { paths: ["a.bin"], weights: [{ ...dense, shape: [1], dtype: "string" }] },
    "ERR_WEIGHTS_TRUNCATED",
  ],
  ["no list of weights", { paths: ["a.bin"], weights: {} }, "ERR_WEIGHTS_CORRUPT"],
];

it.each(hostile)("%s is refused", async (_what, group, code) => {
  const directory = folder();
  writeFileSync(join(directory, "a.bin"), Buffer.alloc(8, 0xff));
  writeFileSync(join(directory, "model.json"), JSON.stringify({ weightsManifest: [group] }));
  expect((await failure(() => openWeights(join(directory, "model.json")))).code).toBe(code);
});

describe("saving", () => {
  it("replaces what was there, and leaves no file behind that model.json does not name", async () => {
    const [{ folder: from }] = models as [(typeof models)[0]];
    const model = modelFromConfig(readFileSync(join(from, "config.json"), "utf8"));
    const directory = folder();
    const path = join(directory, "model.json");
    for (const maxShardBytes of [100, 1 << 20, 300, undefined]) {
      await model.save(path, { maxShardBytes });
      const { paths } = artifacts(directory);
      expect(readdirSync(directory).sort()).toEqual(["model.json", ...paths].sort());
      (await readByTfjs(directory)).dispose();
    }
    await expect(model.save(path, { overwrite: false })).rejects.toMatchObject({ code: "ERR_WEIGHTS_EXISTS" });
    // Weights alone have no topology, and are loaded all the same.
    await model.saveWeights(path);
    expect((readJson(path) as ModelJson).modelTopology).toBeNull();
    expect((await model.loadWeights(path)).missing).toEqual([]);
    await expect(loadModel(path)).rejects.toMatchObject({ code: "ERR_WEIGHTS_CONFIG" });
    await expect(loadLayersModel(tf, path)).rejects.toMatchObject({ code: "ERR_WEIGHTS_CONFIG" });
  });

  it("refuses bytes without the files beside them", async () => {
    const bytes = new TextEncoder().encode(JSON.stringify({ weightsManifest: [] }));
    expect((await failure(() => openWeights(bytes))).code).toBe("ERR_WEIGHTS_ARGUMENT");
  });
});
