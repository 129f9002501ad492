/**
 * Checkpoints that we write, real TensorFlow must restore: by tf_keras' `load_weights`, by `tf.train.Checkpoint` with the
 * model as root or below it, and by Keras 3's `tf.train.Checkpoint(model=…)`; all objects matched, values bit for bit.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { configOf, hdf5Files, samples, type Sample } from "../support/corpus.ts";
import { buildSample, canBuild } from "../support/zoo.ts";
import { Judge, pythonOracle } from "./venv.mjs";

const folder = mkdtempSync(join(tmpdir(), "kw-oracle-checkpoints-"));
const judges = new Map<"keras2" | "keras3", Judge>();
beforeAll(async () => {
  const python = await pythonOracle();
  judges.set("keras3", new Judge(python, 3));
  judges.set("keras2", new Judge(python, 2));
}, 900_000);
afterAll(async () => {
  for (const judge of judges.values()) await judge.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Verdict {
  ok: boolean;
  message?: string;
  identical?: boolean;
}

// tf_keras cannot rebuild SpectralNormalization from its own config, and a compiled model wants its optimizer.
const current = samples().filter(
  (sample) =>
    canBuild(sample) &&
    (sample.writer === "keras-3.15" || sample.writer === "tf_keras") &&
    configOf(sample) !== undefined &&
    // Lookup tables only: its weights come with archives.
    sample.model !== "text_vectorization" &&
    sample.id !== "norms/k2" &&
    !/compiled|lora|quant/.test(sample.model),
);

async function written(sample: Sample, tfLayout: "save_weights" | "checkpoint" | "universal"): Promise<string> {
  const model = buildSample(sample);
  const file = existsSync(join(sample.folder, "ckpt/w.index"))
    ? "ckpt/w"
    : hdf5Files(sample).find((name) => name.endsWith(".weights.h5"))!;
  await model.loadWeights(join(sample.folder, file));
  const prefix = join(folder, `${sample.model}-${sample.flavor}-${tfLayout}`);
  await model.saveWeights(prefix, { tfLayout });
  return prefix;
}

describe.each(current.map((sample) => [sample.id, sample] as const))("%s", (_id, sample) => {
  const spec = { config_file: join(sample.folder, "config.json") };
  const expected_npz = join(sample.folder, "expected.npz");
  const ask = (job: object) =>
    judges.get(sample.flavor)!.ask({ model: spec, expected_npz, ...job }) as Promise<Verdict>;
  const good = (verdict: Verdict) => {
    expect(verdict, verdict.message).toMatchObject({ ok: true, identical: true });
  };

  it.runIf(sample.flavor === "keras2")("restored by load_weights", { timeout: 120_000 }, async () => {
    for (const layout of ["save_weights", "universal"] as const) {
      const file = await written(sample, layout);
      good(await ask({ op: "load_weights", file }));
      good(await ask({ op: "load_checkpoint", file, root: "self" }));
    }
  });

  it("restored by tf.train.Checkpoint(model=…)", { timeout: 120_000 }, async () => {
    for (const layout of ["checkpoint", "universal"] as const) {
      const file = await written(sample, layout);
      const status = "assert_existing_objects_matched";
      good(await ask({ op: "load_checkpoint", file, root: "model", status }));
    }
  });
});
