/** Shards that we wrote, once and over older ones, loaded by real Keras 3. */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configOf, samples, type Sample } from "../support/corpus.ts";
import { buildSample, canBuild } from "../support/zoo.ts";
import { Judge, pythonOracle } from "./venv.mjs";

const folder = mkdtempSync(join(tmpdir(), "kw-oracle-containers-"));
let judge: Judge;
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
});
