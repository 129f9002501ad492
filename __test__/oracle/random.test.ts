/**
 * Random models in both directions: real Keras builds and saves one, we load its files bit for bit, save it in every
 * HDF5 kind, and the same Keras loads that. `KERAS_WEIGHTS_CASES` sets how many models in all (12 by default).
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { loadModel, modelFromConfig, type Layer, type Model } from "keras-weights";
import { readJson, sha256, type Expected } from "../support/corpus.ts";
import { Judge, pythonOracle } from "./venv.mjs";

const count = Math.ceil(Number(process.env["KERAS_WEIGHTS_CASES"] ?? 12) / 2);
const start = Number(process.env["KERAS_WEIGHTS_SEED"] ?? 1000);
const folder = mkdtempSync(join(tmpdir(), "kw-random-"));
let python: string;
beforeAll(async () => {
  python = await pythonOracle();
}, 900_000);
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface RandomModel extends Expected {
  countParams: number;
  /** Layers frozen after building, each by its indexes through nested `layers`, in order. */
  freeze: { path: number[]; trainable: boolean }[];
}

function layerAt(model: Model, path: readonly number[]): Layer {
  return path.reduce<Layer>((layer, index) => (layer as Model).layers[index]!, model);
}

describe.each([
  ["Keras 3", 3],
  ["tf_keras", 2],
] as const)("%s", (_name, version) => {
  let judge: Judge;
  beforeAll(() => {
    judge = new Judge(python, version);
  });
  afterAll(async () => {
    await judge.close();
  });

  it.each(Array.from({ length: count }, (_, k) => start + k))("seed %i", { timeout: 240_000 }, async (seed) => {
    const dir = join(folder, `${version}-${seed}`);
    mkdirSync(dir);
    const made = (await judge.ask({ op: "random_model", seed, dir })) as {
      ok: boolean;
      message?: string;
      files: Record<string, string>;
      reads: Record<string, string>;
    };
    expect(made.ok, made.message).toBe(true);
    const expected = readJson(join(dir, "expected.json")) as RandomModel;
    const config = readFileSync(join(dir, "config.json"), "utf8");
    const fresh = () => {
      const model = modelFromConfig(config);
      for (const { path, trainable } of expected.freeze) layerAt(model, path).trainable = trainable;
      return model;
    };
    expect(fresh().countParams()).toBe(expected.countParams);

    const wanted = expected.get_weights.map((w) => w.sha256);
    const written = Object.keys(made.files).filter((file) => made.files[file] === "ok");
    for (const file of written) {
      const model = fresh();
      await model.loadWeights(join(dir, file));
      expect(
        model.getWeights().map((t) => sha256(t.data)),
        file,
      ).toEqual(wanted);
    }
    // Keras cannot always read its own: frozen parts change an order that it then does not find again.
    // OPEN: with frozen parts Keras reads some that we refuse (seed 1005 of Keras 3): the order of a nested model's legacy
    // group under flags that only the config has.
    if (made.reads["full"] === "ok" && expected.freeze.length === 0) {
      const whole = await loadModel(join(dir, "full.h5"));
      expect(whole.getWeights().map((t) => sha256(t.data))).toEqual(wanted);
    }
    const model = fresh();
    await model.loadWeights(join(dir, written[0]!));
    for (const [kind, name] of [
      ["v3", "ours.weights.h5"],
      ["legacy", "ours.h5"],
      ["legacy_by_name", "ours.h5"],
      ["full", "ours_full.h5"],
    ] as const) {
      // Keras is asked only for kinds in which it reads its own file of this model.
      if (made.reads[kind] !== "ok") continue;
      const file = join(dir, name);
      await (kind === "full" ? model.save(file) : model.saveWeights(file));
      const verdict = (await judge.ask({ op: "random_check", dir, file, kind })) as {
        ok: boolean;
        message?: string;
        identical?: boolean;
        max_pred_diff?: number;
      };
      expect(verdict, `${kind}: ${verdict.message}`).toMatchObject({ ok: true, identical: true });
      expect(verdict.max_pred_diff ?? 0).toBeLessThanOrEqual(1e-5);
    }

    const largest = Math.max(...model.getWeights().map((tensor) => tensor.data.byteLength));
    for (const [name, kind, options] of [
      ["ours.keras", "archive", {}],
      ["ours.weights.json", version === 3 ? "sharded" : undefined, { maxShardBytes: 2 * largest }],
      ["ours", "checkpoint", {}],
      ["parts", "checkpoint", { maxShardBytes: 2 * largest }],
      ["ours.safetensors", undefined, {}],
      ["parts.safetensors.index.json", undefined, { maxShardBytes: 2 * largest }],
      ["ours.npz", undefined, {}],
    ] as const) {
      const file = join(dir, name);
      // Keras 2 may give two weights one name, in models inside models: what holds arrays by name alone cannot have both.
      const names = model.weights.map(({ path }) => path);
      if (new Set(names).size < names.length && /safetensors|npz/.test(name)) {
        await expect(model.saveWeights(file, options)).rejects.toMatchObject({ code: "ERR_WEIGHTS_NAME" });
        continue;
      }
      if (kind === "archive") {
        await model.save(file);
        const whole = await loadModel(file);
        expect(
          whole.getWeights().map((t) => sha256(t.data)),
          name,
        ).toEqual(wanted);
      } else {
        await model.saveWeights(file, options);
        const again = fresh();
        await again.loadWeights(file);
        expect(
          again.getWeights().map((t) => sha256(t.data)),
          name,
        ).toEqual(wanted);
      }
      if (kind === undefined) continue;
      const verdict = (await judge.ask({ op: "random_container", dir, file, kind })) as {
        identical?: boolean;
        message?: string;
        own?: string;
        max_pred_diff?: number;
      };
      // What Keras cannot do with its own file it cannot do with ours.
      if (verdict.identical !== true || (verdict.max_pred_diff ?? 0) > 1e-5) {
        expect(verdict.own, `${name}: ${verdict.message}`).toBeDefined();
        expect(verdict.own, `${name}: ${verdict.message}`).not.toBe("ok");
      }
    }
  });
});
