/** Shards that we wrote, once and over older ones, loaded by real Keras 3; arrays that their own libraries read and write. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configOf, samples, sha256, type Sample } from "../support/corpus.ts";
import { buildSample, canBuild } from "../support/zoo.ts";
import { Judge, pythonOracle } from "./venv.mjs";

const folder = mkdtempSync(join(tmpdir(), "kw-oracle-containers-"));
let judge: Judge;

/** Arrays by name: dtype, shape, digest. */
interface Arrays {
  readonly message?: string;
  readonly arrays: Readonly<Record<string, readonly [dtype: string, shape: number[], digest: string]>>;
}

beforeAll(async () => {
  judge = new Judge(await pythonOracle(), 3);
}, 900_000);
afterAll(async () => {
  await judge.close();
  rmSync(folder, { recursive: true, force: true });
});

const current = samples().filter(
  (sample) =>
    canBuild(sample) &&
    sample.writer === "keras-3.15" &&
    !sample.model.startsWith("lora") &&
    existsSync(join(sample.folder, "model.weights.h5")),
);

describe.each(current.map((sample) => [sample.id, sample] as const))("%s", (_id, sample: Sample) => {
  it("shards, and shards in the place of others", { timeout: 120_000 }, async () => {
    const model = buildSample(sample);
    const file = join(folder, `${sample.model}.weights.json`);
    await model.saveWeights(file, { maxShardBytes: 1 << 22 });
    await model.loadWeights(join(sample.folder, "model.weights.h5"));
    const largest = Math.max(...model.getWeights().map((tensor) => tensor.data.byteLength));
    for (const maxShardBytes of [largest, 1 << 22]) {
      await model.saveWeights(file, { maxShardBytes });
      const spec = configOf(sample) ? { config_file: join(sample.folder, "config.json") } : `zoo:${sample.model}`;
      const job = { op: "load_weights", model: spec, file, expected_npz: join(sample.folder, "expected.npz") };
      const verdict = (await judge.ask(job)) as { ok: boolean; identical?: boolean; message?: string };
      expect(verdict, verdict.message).toMatchObject({ ok: true, identical: true });
    }
  });

  it("safetensors and npz, read and written again by their own libraries", { timeout: 120_000 }, async () => {
    const model = buildSample(sample);
    await model.loadWeights(join(sample.folder, "model.weights.h5"));
    const expected = model.weights.map(({ path, shape, value }) => [path, [...shape], sha256(value!)]);
    for (const suffix of ["safetensors", "npz"]) {
      const [file, again] = ["ours", "theirs"].map((who) => join(folder, `${sample.model}-${who}.${suffix}`));
      await model.saveWeights(file!);
      const verdict = (await judge.ask({ op: "arrays", file, again })) as Arrays;
      expect(verdict, verdict.message).toMatchObject({ ok: true });
      const found = Object.entries(verdict.arrays).map(([name, [, shape, digest]]) => [name, shape, digest]);
      expect(found.sort()).toEqual([...expected].sort());
      const other = buildSample(sample);
      expect(await other.loadWeights(again!)).toMatchObject({ missing: [], unexpected: [], cast: [] });
      expect(other.weights.map(({ path, shape, value }) => [path, [...shape], sha256(value!)])).toEqual(expected);
    }
  });
});

interface Listed {
  readonly ok: boolean;
  readonly message?: string;
  readonly identical?: boolean;
  readonly datasets: readonly { path: string; compression: string | null; shuffle: boolean; chunks: number[] | null }[];
}

it.each(["weights.h5", "h5"])("compressed .%s, by h5py and Keras", { timeout: 120_000 }, async (suffix) => {
  const sample = current.find(({ model }) => model === "mnist_dense")!;
  const model = buildSample(sample);
  await model.loadWeights(join(sample.folder, "model.weights.h5"));
  const file = join(folder, `compressed.${suffix}`);
  await model.saveWeights(file, { compression: { level: 6, shuffle: true } });
  const listed = (await judge.ask({ op: "h5py", file })) as Listed;
  expect(listed, listed.message).toMatchObject({ ok: true });
  const kernel = listed.datasets.find(({ chunks }) => chunks !== null);
  expect(kernel).toMatchObject({ compression: "gzip", shuffle: true });
  expect(listed.datasets.some(({ compression }) => compression === null)).toBe(true);
  const spec = { config_file: join(sample.folder, "config.json") };
  const job = { op: "load_weights", model: spec, file, expected_npz: join(sample.folder, "expected.npz") };
  const verdict = (await judge.ask(job)) as Listed;
  expect(verdict, verdict.message).toMatchObject({ ok: true, identical: true });
});
