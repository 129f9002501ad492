import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";
import { describe, expect, it } from "vitest";

import { isWeightsError, loadWeights, openWeights, saveWeights, saveWeightsSync } from "keras-weights";

import { failure, kernels, withFolder, type Kernels, type Weight } from "./support.ts";

/** Elements of each weight: large enough to be brought in several pieces. */
const length = 3 << 20;
const turns = [0, 1, 2, 3, 4, 6, 8, 10, 13, 17, 22, 28, 35, 50];

function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Buffer {
  // No Buffer can be made of what was transferred.
  if (byteLength === 0) return Buffer.alloc(0);
  return Buffer.from(buffer, byteOffset, byteLength);
}

/** The values of a file whose digests all fit. */
async function saved(path: string): Promise<Float32Array[]> {
  const file = await openWeights(path, { verify: "load", access: "copy" });
  return file.entries().map((entry) => file.get(entry.path, "float32").data);
}

interface Outcome {
  /** How the save ended. */
  readonly code: string;
  /** The values in the file are all old, all new, or a mixture. */
  readonly content: "old file" | "before" | "after" | "torn";
}

/** Begins a save over an old file, does something after some turns, and says what came of it. */
async function during(
  make: () => Kernels | Promise<Kernels>,
  after: number,
  change: (weights: readonly Weight[]) => void,
): Promise<Outcome> {
  return withFolder(async (folder) => {
    const path = join(folder, "w.weights.h5");
    saveWeightsSync(kernels(new Float32Array(3).fill(-1)), path);
    const old = readFileSync(path);
    const target = await make();
    const before = target.variables.map(({ value }) => bytesOf(value.slice()));
    const saving = saveWeights(target, path).then(
      () => "saved",
      (error: unknown) => {
        if (!isWeightsError(error)) throw error;
        return error.code;
      },
    );
    for (let k = 0; k < after; k++) await turn();
    change(target.variables);
    const code = await saving;
    // Nothing is left lying about, whatever happened.
    expect(readdirSync(folder)).toEqual(["w.weights.h5"]);
    if (readFileSync(path).equals(old)) return { code, content: "old file" };
    const found = (await saved(path)).map(bytesOf);
    const same = (wanted: Buffer[]): boolean => found.every((bytes, k) => bytes.equals(wanted[k] ?? Buffer.alloc(0)));
    const now = target.variables.map(({ value }) => bytesOf(value));
    return { code, content: same(before) ? "before" : same(now) ? "after" : "torn" };
  });
}

const own = (): Kernels => kernels(new Float32Array(length).fill(1), new Float32Array(length).fill(2));

/** Weights whose values lie in memory that the addon brought. */
async function loaded(access: "map" | "copy"): Promise<Kernels> {
  return withFolder(async (folder) => {
    const path = join(folder, "source.weights.h5");
    saveWeightsSync(own(), path);
    const target = kernels(new Float32Array(length), new Float32Array(length));
    await loadWeights(target, path, { access });
    return target;
  });
}

/** What may happen: the save ends well with values of one moment, or says that they changed. */
function expectGood({ code, content }: Outcome): void {
  if (code === "saved") expect(["before", "after"]).toContain(content);
  else expect({ code, content }).toEqual({ code: "ERR_WEIGHTS_CHANGED", content: "old file" });
}

describe("while a save is under way", { timeout: 120_000 }, () => {
  it("an array that is resized ends it or comes too late", async () => {
    const resizable = (): Kernels => {
      const options = { maxByteLength: 4 * length };
      const Resizable = ArrayBuffer as unknown as new (length: number, options: object) => ArrayBuffer;
      return kernels(...[1, 2].map((value) => new Float32Array(new Resizable(4 * length, options)).fill(value)));
    };
    const codes = new Set<string>();
    for (const after of turns) {
      const outcome = await during(resizable, after, (weights) => {
        for (const { value } of weights) (value.buffer as ArrayBuffer & { resize(length: number): void }).resize(64);
      });
      expectGood(outcome);
      codes.add(outcome.code);
    }
    expect(codes).toContain("ERR_WEIGHTS_CHANGED");
  });

  it("an array that is transferred ends it or comes too late", async () => {
    const codes = new Set<string>();
    for (const after of turns) {
      const outcome = await during(own, after, (weights) => {
        const { buffer } = weights[1]!.value;
        structuredClone(buffer, { transfer: [buffer as ArrayBuffer] });
      });
      expectGood(outcome);
      codes.add(outcome.code);
    }
    expect(codes).toContain("ERR_WEIGHTS_CHANGED");
  });

  it("a weight that is set ends it or comes too late: never half of the old and half of the new", async () => {
    const codes = new Set<string>();
    for (const after of turns) {
      const outcome = await during(own, after, (weights) => {
        for (const weight of weights) {
          weight.value.fill(9);
          weight.version += 1;
        }
      });
      expectGood(outcome);
      codes.add(outcome.code);
    }
    expect(codes).toContain("ERR_WEIGHTS_CHANGED");
  });

  it("values written straight into one array are found by its digest", async () => {
    for (const access of ["own", "map", "copy"] as const) {
      for (const after of access === "own" ? turns : [0, 2, 5, 20]) {
        const make = access === "own" ? own : () => loaded(access);
        const outcome = await during(make, after, (weights) => {
          weights[1]!.value.fill(9, length / 2);
        });
        // The other weight stays, so any digest that fits means one moment.
        expectGood(outcome);
      }
    }
  });

  it("a snapshot does not mind", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      for (const target of [own(), await loaded("map")]) {
        const saving = saveWeights(target, path, { snapshot: true });
        for (const weight of target.variables) {
          weight.value.fill(9);
          weight.version += 1;
        }
        await saving;
        expect((await saved(path)).map((values) => [...new Set(values)])).toEqual([[1], [2]]);
      }
    });
  });

  it("small models are taken at once", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      const target = kernels(new Float32Array(1000).fill(1));
      const saving = saveWeights(target, path);
      target.variables[0]!.value.fill(9);
      await saving;
      expect((await saved(path))[0]![500]).toBe(1);
    });
  });

  it("an abort gives its reason and leaves the old file, or comes too late", async () => {
    const ends = new Set<string>();
    for (const after of turns) {
      await withFolder(async (folder) => {
        const path = join(folder, "w.weights.h5");
        saveWeightsSync(kernels(new Float32Array(3)), path);
        const old = readFileSync(path);
        const controller = new AbortController();
        const reason = new Error("mine");
        const saving = saveWeights(own(), path, { signal: controller.signal }).then(
          () => undefined,
          (error: unknown) => error,
        );
        for (let k = 0; k < after; k++) await turn();
        controller.abort(reason);
        const error = await saving;
        const isOld = readFileSync(path).equals(old);
        expect(error === undefined ? !isOld : error === reason && isOld).toBe(true);
        if (error === undefined) expect((await saved(path)).map((values) => values[7])).toEqual([1, 2]);
        expect(readdirSync(folder)).toEqual(["w.weights.h5"]);
        ends.add(String(error));
      });
    }
    expect(ends).toContain("Error: mine");
  });

  it("many saves and loads at once all end", async () => {
    await withFolder(async (folder) => {
      const paths = Array.from({ length: 6 }, (_, k) => join(folder, `${k}.weights.h5`));
      const targets = paths.map(() => own());
      await Promise.all(paths.map((path, k) => saveWeights(targets[k]!, path)));
      const again = paths.map(() => kernels(new Float32Array(length), new Float32Array(length)));
      await Promise.all(paths.map((path, k) => loadWeights(again[k]!, path)));
      expect(again.map(({ variables }) => variables.map(({ value }) => value[99]))).toEqual(paths.map(() => [1, 2]));
      // One target saved to one path many times at once: the last one in place is whole.
      await Promise.all(Array.from({ length: 4 }, () => saveWeights(targets[0]!, paths[0]!)));
      expect((await saved(paths[0]!)).map((values) => values[5])).toEqual([1, 2]);
      expect(readdirSync(folder).length).toBe(6);
    });
  });

  it("a target in no folder fails without a trace, however much was fed", async () => {
    await withFolder(async (folder) => {
      const error = await failure(() => saveWeights(own(), join(folder, "none", "w.weights.h5")));
      expect(error.code).toBe("ERR_WEIGHTS_NOT_FOUND");
      expect(readdirSync(folder)).toEqual([]);
    });
  });
});
