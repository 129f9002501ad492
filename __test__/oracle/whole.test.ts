// Whole models that we saved, opened by real Keras: the same weights, the same predictions, and training goes on as if
// nobody had saved.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { loadModel } from "keras-weights";
import { afterAll, beforeAll, describe, expect, test } from "vitest";

import { readJson, samples, type Sample } from "../support/corpus.ts";
import { Judge, pythonOracle } from "./venv.mjs";

const folder = mkdtempSync(join(tmpdir(), "kw-whole-oracle-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Verdict {
  readonly ok: boolean;
  readonly message?: string;
  readonly identical?: boolean;
  readonly max_pred_diff?: number;
}

interface Losses extends Verdict {
  readonly losses: number[];
}

/** What Keras wrote, in the name it has here and as ours is called, and what Keras said on reading its own. */
const kinds = {
  keras3: [
    ["legacy_full.h5", "h5"],
    ["model.keras", "keras"],
  ],
  keras2: [
    ["full.h5", "h5"],
    ["v3.keras", "keras"],
  ],
} as const;

/** Whether Keras reads its own file of this kind; what it cannot do with its own it is not asked to do with ours. */
function keptByKeras({ folder: from }: Sample, suffix: "h5" | "keras"): boolean {
  const status = readJson(join(from, "status.json")) as Record<string, { identical?: boolean } | undefined>;
  return status[`roundtrip_${suffix}`]?.identical === true;
}

/** Made of classes that no config can describe. */
const left = /^(many_weights|subclassed|nested_containers|functional_with_attrs)$/u;

describe.each([
  ["Keras 3", 3, "keras3"],
  ["tf_keras", 2, "keras2"],
] as const)("%s", (_name, version, flavor) => {
  let judge: Judge;
  beforeAll(async () => {
    judge = new Judge(await pythonOracle(), version);
  }, 900_000);
  afterAll(async () => {
    await judge.close();
  });

  const cases = samples()
    .filter((sample) => sample.flavor === flavor && !sample.id.startsWith("_old") && !left.test(sample.model))
    .flatMap((sample) => kinds[flavor].map(([name, suffix]) => ({ sample, name, suffix })))
    .filter(({ sample, name, suffix }) => existsSync(join(sample.folder, name)) && keptByKeras(sample, suffix))
    .map((one) => ({ ...one, title: `${one.sample.model} ${one.name}` }));

  test("there are cases", () => {
    expect(cases.length).toBeGreaterThan(5);
  });

  test.each(cases)("$title is opened with equal weights and predictions", async ({ sample, name, suffix }) => {
    const file = join(folder, `${sample.model}-${version}.${suffix}`);
    const model = await loadModel(join(sample.folder, name));
    await model.save(file);
    const expected = join(sample.folder, "expected.npz");
    const asked = async (path: string): Promise<Verdict> =>
      (await judge.ask({ op: "load_model", file: path, expected_npz: expected })) as Verdict;
    const verdict = await asked(file);
    if (verdict.identical && (verdict.max_pred_diff ?? 0) <= 1e-5) return;
    // What Keras cannot do with its own file it cannot do with ours: the verdict is the same, in the same words.
    const own = await asked(join(sample.folder, name));
    expect(own.identical && (own.max_pred_diff ?? 0) <= 1e-5, verdict.message).not.toBe(true);
    expect({ ...verdict, warnings: [] }).toEqual({ ...own, warnings: [] });
  });

  // Keras 3 opens .h5 files of compiled models, but cannot train on from any of them, its own included.
  const trains = version === 3 ? ["keras"] : ["keras", "h5"];
  test.each(
    trains.flatMap((suffix) =>
      ["Adam", "SGD"].map((optimizer) => ({ suffix, optimizer, title: `${optimizer}, .${suffix}` })),
    ),
  )("training goes on as if nobody had saved: $title", async ({ suffix, optimizer }) => {
    const [theirs, ours] = ["theirs", "ours"].map((who) => join(folder, `${who}-${optimizer}-${version}.${suffix}`));
    const half = (await judge.ask({ op: "train_half", optimizer, file: theirs })) as Losses;
    expect(half, half.message).toMatchObject({ ok: true });
    const model = await loadModel(theirs!);
    expect(model.optimizer?.className).toBe(optimizer);
    await model.save(ours!);
    const go = (await judge.ask({ op: "continue_training", file: ours })) as Losses;
    expect(go, go.message).toMatchObject({ ok: true });
    expect(go.losses).toEqual(half.losses);
    expect(new Set(half.losses).size).toBeGreaterThan(2);
  });

  test("weights files of compiled models carry the optimizer too", async () => {
    const [theirs, ours] = [join(folder, `w-${version}.keras`), join(folder, `w-${version}.weights.h5`)];
    const half = (await judge.ask({ op: "train_half", optimizer: "Adam", file: theirs })) as Losses;
    expect(half, half.message).toMatchObject({ ok: true });
    await (await loadModel(theirs)).saveWeights(ours);
    const go = (await judge.ask({ op: "continue_training", file: theirs, weights: ours })) as Losses;
    expect(go, go.message).toMatchObject({ ok: true });
    expect(go.losses).toEqual(half.losses);
  });
});
