import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";

import {
  layers,
  loadWeights,
  loadWeightsSync,
  openWeightsSync,
  saveWeights,
  saveWeightsSync,
  sequential,
  type Progress,
  type WeightsWarning,
} from "keras-weights";

import { failure, fixture, kernels, withFolder } from "../robustness/support.ts";

const keras3 = fixture("mnist_dense/k3/model.weights.h5");

function ramp(length: number, step = 1): Float32Array {
  return Float32Array.from({ length }, (_, k) => k * step);
}

const digits = (units = 64): ReturnType<typeof sequential> =>
  sequential([layers.input([784]), layers.dense(units, { name: "dense" }), layers.dense(10, { name: "dense_1" })]);

describe("loading", () => {
  it("puts Keras' values in place and reports", async () => {
    const model = digits();
    const progress: Progress[] = [];
    const report = await model.loadWeights(pathToFileURL(keras3), { onProgress: (step) => progress.push(step) });
    expect(report).toMatchObject({ format: "keras3_h5", skipped: [], missing: [], unexpected: [], cast: [] });
    expect(report.loaded.length).toBe(4);
    expect(progress.at(-1)).toEqual({ done: 203560, total: 203560 });
    const bytes = readFileSync(keras3);
    for (const { data } of model.getWeights()) {
      expect(bytes.includes(Buffer.from(data.buffer, data.byteOffset, data.byteLength))).toBe(true);
    }
  });

  it("gives the same from a path, bytes, mapped, copied, and without waiting", async () => {
    const values = async (load: (model: ReturnType<typeof digits>) => unknown): Promise<string> => {
      const model = digits();
      await load(model);
      return model
        .getWeights()
        .map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex"))
        .join();
    };
    const first = await values((model) => model.loadWeights(keras3));
    const others = [
      values((model) => model.loadWeights(keras3, { access: "copy", verify: "off" })),
      values((model) => model.loadWeights(keras3, { access: "map" })),
      values((model) => model.loadWeights(readFileSync(keras3))),
      values((model) => model.loadWeightsSync(keras3)),
      values((model) => loadWeights(model, keras3)),
      values((model) => loadWeightsSync(model, keras3)),
      values((model) => model.loadWeights(fixture("mnist_dense/k3/legacy_weights.h5"))),
    ];
    for (const other of await Promise.all(others)) expect(other === first).toBe(true);
  });

  it("changes nothing when the file does not fit", async () => {
    const model = digits(32);
    model.setWeights(model.getWeights().map(({ data }, k) => (data as Float32Array).map(() => k)));
    const error = await failure(() => model.loadWeights(keras3));
    expect([error.code, error.layer, error.expected, error.found]).toEqual([
      "ERR_WEIGHTS_SHAPE",
      "dense",
      [784, 32],
      [784, 64],
    ]);
    expect(error.file).toBe(keras3);
    expect(model.getWeights().map(({ data }) => [...new Set<unknown>(data)])).toEqual([[0], [1], [2], [3]]);
  });

  it("skips whole layers that do not fit, with a warning each, when told to", async () => {
    const model = sequential([layers.input([784]), layers.dense(64), layers.dense(11)]);
    const warnings: WeightsWarning[] = [];
    const report = await model.loadWeights(keras3, {
      skipMismatch: true,
      onWarning: (warning) => warnings.push(warning),
    });
    expect(report.skipped.map(({ reason }) => reason)).toEqual(["ERR_WEIGHTS_SHAPE"]);
    expect(report.loaded.length).toBe(2);
    expect(warnings.map(({ code }) => code)).toEqual(["WARN_WEIGHTS_SKIPPED_LAYER"]);
  });

  it("warns through the process when nobody listens", async () => {
    const heard = new Promise<Error & { code?: string }>((resolve) => process.once("warning", resolve));
    await sequential([layers.input([784]), layers.dense(64), layers.dense(11)]).loadWeights(keras3, {
      skipMismatch: true,
    });
    const warning = await heard;
    expect([warning.name, warning.code]).toEqual(["WeightsWarning", "WARN_WEIGHTS_SKIPPED_LAYER"]);
  });

  it("leaves named layers alone", async () => {
    const model = digits();
    const before = model.getLayer("dense").getWeights()[0]!.copy();
    const report = await model.loadWeights(keras3, { objectsToSkip: [model.getLayer("dense")] });
    expect(report.loaded.every((path) => path.includes("dense_1"))).toBe(true);
    expect(model.getLayer("dense").getWeights()[0]!.data).toEqual(before.data);
    const stranger = await failure(() => model.loadWeights(keras3, { objectsToSkip: [layers.dense(1)] }));
    expect(stranger.code).toBe("ERR_WEIGHTS_ARGUMENT");
  });

  it("refuses a model without weights, and options that nobody reads", async () => {
    const unbuilt = sequential([layers.dense(3)]);
    expect((await failure(() => unbuilt.loadWeights(keras3))).code).toBe("ERR_WEIGHTS_UNBUILT");
    const typo = await failure(() => digits().loadWeights(keras3, { skip_mismatch: true } as never));
    expect([typo.code, typo.message]).toEqual(["ERR_WEIGHTS_ARGUMENT", expect.stringContaining("skip_mismatch")]);
  });

  it("finds damage by the digests of our own files before anything changes", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      const values = ramp(5000, 0.5);
      saveWeightsSync(kernels(values), path);
      const bytes = readFileSync(path);
      bytes[bytes.indexOf(Buffer.from(values.buffer)) + 77]! ^= 4;
      writeFileSync(path, bytes);
      for (const access of ["map", "copy"] as const) {
        const target = kernels(new Float32Array(5000));
        expect((await failure(() => loadWeights(target, path, { access }))).code).toBe("ERR_WEIGHTS_DIGEST");
        expect(target.variables[0]!.version).toBe(0);
        await loadWeights(target, path, { access, verify: "off" });
      }
    }));

  it("of two loads at once the later one fails, whole", async () => {
    const model = digits();
    const results = await Promise.allSettled([model.loadWeights(keras3), model.loadWeights(keras3)]);
    expect(results.map(({ status }) => status).sort()).toEqual(["fulfilled", "rejected"]);
    const reason = results.flatMap((result) => (result.status === "rejected" ? [result.reason as unknown] : []))[0];
    expect(reason).toMatchObject({ code: "ERR_WEIGHTS_CHANGED" });
  });

  it("does not overwrite what was set meanwhile", async () => {
    const model = digits();
    const loading = model.loadWeights(keras3);
    const mine = new Float32Array(784 * 64).fill(3);
    model.getLayer("dense").setWeights([mine, new Float32Array(64)]);
    expect((await failure(() => loading)).code).toBe("ERR_WEIGHTS_CHANGED");
    expect(model.getWeights()[0]!.data[5]).toBe(3);
  });

  it("an abort leaves the model as it was", async () => {
    const model = digits();
    const reason = new Error("mine");
    await expect(model.loadWeights(keras3, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const loading = model.loadWeights(keras3, { signal: controller.signal });
    controller.abort(reason);
    await expect(loading).rejects.toBe(reason);
    expect(model.weights.every(({ version }) => version === 0)).toBe(true);
  });
});

describe("saving", () => {
  it("round-trips in both HDF5 layouts, waiting or not", () =>
    withFolder(async (folder) => {
      const model = digits();
      await model.loadWeights(keras3);
      const wanted = model.getWeights().map(({ data }) => data);
      for (const [name, format] of [
        ["w.weights.h5", "keras3_h5"],
        ["w.h5", "legacy_h5"],
      ] as const) {
        const path = join(folder, name);
        const progress: Progress[] = [];
        const report = await model.saveWeights(path, { onProgress: (step) => progress.push(step) });
        expect(report).toEqual({ format, path, tensors: 4, tensorBytes: 203560 });
        expect(progress.at(-1)).toEqual({ done: 203560, total: 203560 });
        const waited = readFileSync(path);
        model.saveWeightsSync(pathToFileURL(path));
        expect(readFileSync(path).equals(waited)).toBe(true);
        await saveWeights(model, path, { snapshot: true });
        expect(readFileSync(path).equals(waited)).toBe(true);
        const again = digits();
        again.loadWeightsSync(path);
        again.getWeights().forEach(({ data }, k) => {
          expect(
            Buffer.compare(
              Buffer.from(data.buffer, data.byteOffset, data.byteLength),
              Buffer.from(wanted[k]!.buffer, wanted[k]!.byteOffset, wanted[k]!.byteLength),
            ),
          ).toBe(0);
        });
      }
      expect(readdirSync(folder).sort()).toEqual(["w.h5", "w.weights.h5"]);
    }));

  it("loads what it is about to overwrite: the file's own pages may be the source", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      saveWeightsSync(kernels(ramp(3 << 20)), path);
      const target = kernels(new Float32Array(3 << 20));
      await loadWeights(target, path, { access: "map" });
      await saveWeights(target, path);
      const again = kernels(new Float32Array(3 << 20));
      await loadWeights(again, path);
      expect(again.variables[0]!.value[12345]).toBe(12345);
    }));

  it("asks, replaces or refuses as told", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      const target = kernels(ramp(10));
      await saveWeights(target, path, { overwrite: false });
      const old = readFileSync(path);
      for (const call of [
        () => saveWeights(target, path, { overwrite: false }),
        () => saveWeightsSync(target, path, { overwrite: false }),
      ]) {
        const error = await failure(call);
        expect([error.code, error.file]).toEqual(["ERR_WEIGHTS_EXISTS", path]);
      }
      target.variables[0]!.replace(ramp(10, 2));
      const asked: string[] = [];
      const answer = (yes: boolean) => (file: string) => {
        asked.push(file);
        return yes;
      };
      expect(await saveWeights(target, path, { overwrite: answer(false) })).toMatchObject({
        cancelled: true,
        tensors: 0,
      });
      expect(saveWeightsSync(target, path, { overwrite: answer(false) }).cancelled).toBe(true);
      expect(readFileSync(path).equals(old)).toBe(true);
      expect(
        (await saveWeights(target, path, { overwrite: async (file) => answer(true)(file) })).cancelled,
      ).toBeUndefined();
      expect(readFileSync(path).equals(old)).toBe(false);
      expect(asked).toEqual([path, path, path]);
      // A file that is not there is nothing to ask about.
      await saveWeights(target, join(folder, "new.h5"), { overwrite: answer(false) });
      expect(existsSync(join(folder, "new.h5"))).toBe(true);
      const promise = await failure(() => saveWeightsSync(target, path, { overwrite: (async () => true) as never }));
      expect(promise.code).toBe("ERR_WEIGHTS_ARGUMENT");
      expect((await failure(() => saveWeights(target, path, { overwrite: "ask" as never }))).code).toBe(
        "ERR_WEIGHTS_ARGUMENT",
      );
    }));

  describe.each(["prompt", "prompt-sync"])("%s", (way) => {
    const script = fileURLToPath(new URL("../robustness/children/prompt.mjs", import.meta.url));
    const run = (path: string, input: string): { stdout: string; outcome: unknown } => {
      const { stdout, stderr } = spawnSync(process.execPath, [script, way, path], { input, encoding: "utf8" });
      return { stdout, outcome: JSON.parse(stderr) };
    };
    const question = (path: string): string => `[WARNING] ${path} already exists - overwrite? [y/n]`;

    it("asks in Keras' words", () => {
      withFolder((folder) => {
        const path = join(folder, "w.weights.h5");
        expect(run(path, "").outcome).toBe("saved");
        const tip = "[TIP] Next time specify overwrite=True!\n";
        expect(run(path, "y\n")).toEqual({ stdout: question(path) + tip, outcome: "saved" });
        expect(run(path, " N \n")).toEqual({ stdout: question(path), outcome: "cancelled" });
        const again = 'Enter "y" (overwrite) or "n" (cancel).';
        expect(run(path, "yes\n\nY\n")).toEqual({ stdout: question(path) + again + again + tip, outcome: "saved" });
        expect(run(path, "")).toEqual({ stdout: question(path), outcome: "ERR_WEIGHTS_EXISTS" });
      });
    });
  });

  it("says what is wrong with the target", () =>
    withFolder(async (folder) => {
      const target = kernels(ramp(3));
      mkdirSync(join(folder, "folder.weights.h5"));
      const cases: [path: string, code: string][] = [
        [join(folder, "none", "w.weights.h5"), "ERR_WEIGHTS_NOT_FOUND"],
        [join(folder, "folder.weights.h5"), "ERR_WEIGHTS_IO"],
        [join(folder, "w.keras"), "ERR_WEIGHTS_FORMAT"],
        ["", "ERR_WEIGHTS_ARGUMENT"],
      ];
      for (const [path, code] of cases) {
        expect((await failure(() => saveWeights(target, path))).code).toBe(code);
        expect((await failure(() => saveWeightsSync(target, path))).code).toBe(code);
      }
      expect((await failure(() => sequential([layers.dense(3)]).saveWeights(join(folder, "w.h5")))).code).toBe(
        "ERR_WEIGHTS_UNBUILT",
      );
      expect(readdirSync(folder)).toEqual(["folder.weights.h5"]);
    }));

  it("takes values from shared memory and of no elements", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      const shared = new Float32Array(new SharedArrayBuffer(40));
      shared.set(ramp(10, 3));
      for (const save of [saveWeights, saveWeightsSync]) {
        await save(kernels(shared, new Float32Array(0), ramp(4)), path);
        const file = openWeightsSync(path);
        expect(file.entries().map(({ path: at }) => [...(file.get(at).data as Float32Array)])).toEqual([
          [...ramp(10, 3)],
          [],
          [0, 1, 2, 3],
        ]);
      }
    }));
});
