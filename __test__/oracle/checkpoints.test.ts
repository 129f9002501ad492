/**
 * Checkpoints that we write, real TensorFlow must restore: by tf_keras' `load_weights`, by `tf.train.Checkpoint` with the
 * model as root or below it, and by Keras 3's `tf.train.Checkpoint(model=…)`; all objects matched, values bit for bit.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel } from "keras-weights";
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

interface Losses extends Verdict {
  losses: number[];
}

describe.each([
  ["keras2", [undefined, "model", "beside"]],
  ["keras3", ["model", "beside"]],
] as const)("optimizers of %s", (flavor, roots) => {
  const ask = (job: object) => judges.get(flavor)!.ask(job) as Promise<Losses>;
  const shared = ["Adam", "SGD", "RMSprop", "Nadam", "AdamW", "Adafactor", "Ftrl", "SGD with a schedule"];
  const old = ["old Adam", "old SGD", "old RMSprop", "old Nadam", "old Ftrl"];

  it.each([...shared, ...(flavor === "keras2" ? old : [])])(
    "%s trains on from our checkpoint as if nobody had saved",
    { timeout: 600_000 },
    async (optimizer) => {
      const thorough = /^(old )?(Adam|SGD)$/u.test(optimizer);
      for (const root of thorough ? roots : roots.slice(0, 1)) {
        const name = `${flavor}-${optimizer.replaceAll(" ", "-")}-${root ?? "self"}`;
        const [file, theirs, ours] = [`${name}.keras`, `${name}-theirs`, `${name}-ours`].map((one) =>
          join(folder, one),
        );
        const half = await ask({ op: "train_half_checkpoint", optimizer, file, weights: theirs, root });
        expect(half, half.message).toMatchObject({ ok: true });
        expect(new Set(half.losses).size).toBeGreaterThan(3);

        const model = await loadModel(file!);
        const warnings: string[] = [];
        const report = await model.loadWeights(theirs!, { onWarning: ({ message }) => warnings.push(message) });
        expect({ ...report, warnings }).toMatchObject({ missing: [], unexpected: [], warnings: [] });
        for (const tfLayout of root === undefined
          ? (["save_weights", "universal"] as const)
          : (["universal"] as const)) {
          if (!thorough && tfLayout === "universal" && root === undefined) continue;
          await model.saveWeights(ours!, { tfLayout });
          const how = { optimizer, weights: ours, root: root === "beside" ? "model" : root };
          for (const built of thorough ? [false, true] : [false]) {
            const go = await ask({ op: "continue_checkpoint", built, ...how });
            expect(go, `${tfLayout} ${String(built)} ${go.message}`).toMatchObject({ ok: true });
            expect(go.losses, `${tfLayout} ${String(built)}`).toEqual(half.losses);
          }
        }
      }
    },
  );
});
