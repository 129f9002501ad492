/**
 * Odd but legal models (odd_models.py): real Keras saves each in every kind, we load its files bit for bit and describe
 * the model as Keras has it, save it in every kind, and the same Keras loads that.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { clearSession, loadModel, modelFromConfig, type Model } from "keras-weights";
import { readJson, sha256, type Expected } from "../support/corpus.ts";
import { Judge, pythonOracle } from "./venv.mjs";

const folder = mkdtempSync(join(tmpdir(), "kw-odd-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Made {
  readonly ok: boolean;
  readonly message?: string;
  readonly files: Readonly<Record<string, string>>;
  readonly reads: Readonly<Record<string, string>>;
}

interface Verdict {
  readonly ok: boolean;
  readonly message?: string;
  readonly identical?: boolean;
  readonly max_pred_diff?: number | null;
}

interface OddModel extends Expected {
  readonly countParams: number;
  readonly layers: { name: string; class: string; trainable: boolean; weights: string[]; legacy_order: string[] }[];
}

/** Keras' own files by kind. */
const sources = {
  v3: "model.weights.h5",
  legacy: "legacy.h5",
  legacy_by_name: "legacy.h5",
  full: "full.h5",
  archive: "model.keras",
} as const;

const names = [
  ...readFileSync(new URL("odd_models.py", import.meta.url), "utf8").matchAll(/^@model\(([23]?)\)\ndef (\w+)/gm),
].map(([, only, name]) => ({ name: name!, only: only === "" ? undefined : Number(only) }));

/** Keras 3 builds the layers of a config one by one: the models around them are not in the paths then. */
const short = (path: string): string => path.split("/").slice(-2).join("/");

/** Models with layers of classes that nobody declares here. */
const isCustom = (name: string): boolean => name.startsWith("custom_");

const digests = (model: Model): string[] => model.getWeights().map(({ data }) => sha256(data));

describe.each([
  ["Keras 3", 3],
  ["tf_keras", 2],
] as const)("%s", (_name, version) => {
  let judge: Judge;
  beforeAll(async () => {
    judge = new Judge(await pythonOracle(), version);
  }, 900_000);
  afterAll(async () => {
    await judge.close();
  });

  const mine = names.filter(({ only }) => only === undefined || only === version).map(({ name }) => name);

  it.each(mine)("%s", { timeout: 240_000 }, async (name) => {
    const dir = join(folder, `${version}-${name}`);
    mkdirSync(dir);
    const made = (await judge.ask({ op: "odd_model", name, dir })) as Made;
    expect(made.ok, made.message).toBe(true);
    const expected = readJson(join(dir, "expected.json")) as OddModel;
    const wanted = expected.get_weights.map((weight) => weight.sha256);
    const fresh = (): Model => {
      clearSession();
      return modelFromConfig(readFileSync(join(dir, "config.json"), "utf8"));
    };
    const problems: string[] = [];
    const attempt = async (what: string, run: () => Promise<unknown>): Promise<void> => {
      try {
        await run();
      } catch (error) {
        problems.push(`${what}: ${(error as Error).message.slice(0, 600)}`);
      }
    };

    // In which order the weights of an unknown class come, object paths do not say; nor do Keras 3's legacy files, which
    // list the trainable ones first.
    const inOrder = (found: string[], file: string): string[] =>
      isCustom(name) && (version === 3 || /weights|keras/.test(file)) ? found.sort() : found;
    const wantedOf = (file: string): string[] => inOrder([...wanted], file);
    await attempt("described", async () => {
      if (isCustom(name)) return;
      const model = fresh();
      expect(model.layers.map((layer) => layer.name)).toEqual(expected.layers.map((layer) => layer.name));
      expect(model.countParams()).toBe(expected.countParams);
      expect(model.weights.map((weight) => (version === 3 ? short(weight.path) : weight.name))).toEqual(
        expected.get_weights.map((weight) => (weight.path === null ? weight.name : short(weight.path))),
      );
      expect(model.trainableWeights).toHaveLength(expected.get_weights.filter((weight) => weight.trainable).length);
      expect(model.layers.map((layer) => layer.trainable)).toEqual(expected.layers.map((layer) => layer.trainable));
    });
    const written = Object.keys(made.files).filter((file) => made.files[file] === "ok");
    for (const file of written) {
      await attempt(`${file} into the model`, async () => {
        const model = fresh();
        await model.loadWeights(join(dir, file));
        expect(inOrder(digests(model), file)).toEqual(wantedOf(file));
      });
      if (file === "full.h5" || file === "model.keras") {
        await attempt(`${file} as a whole`, async () => {
          clearSession();
          expect(inOrder(digests(await loadModel(join(dir, file))), file)).toEqual(wantedOf(file));
        });
      }
    }
    for (const [kind, out] of [
      ["v3", "ours.weights.h5"],
      ["legacy", "ours.h5"],
      ["legacy_by_name", "ours.h5"],
      ["full", "ours_full.h5"],
      ["archive", "ours.keras"],
    ] as const) {
      // Keras is asked only for kinds in which it reads its own file of this model.
      if (made.reads[kind] !== "ok") continue;
      await attempt(`ours, ${kind}`, async () => {
        // A file of another layout does not say what a class that nobody declared looks like in this one.
        const model = fresh();
        await model.loadWeights(join(dir, isCustom(name) ? sources[kind] : "model.weights.h5"));
        const file = join(dir, out);
        await (kind === "full" || kind === "archive" ? model.save(file) : model.saveWeights(file));
        const verdict = (await judge.ask({ op: "random_check", dir, file, kind })) as Verdict;
        expect(verdict, verdict.message).toMatchObject({ ok: true, identical: true });
        // Null: not a number, here and there.
        expect(verdict.max_pred_diff ?? 0).toBeLessThanOrEqual(1e-5);
      });
    }
    if (problems.length > 0) throw new Error(problems.join("\n"));
  });
});
