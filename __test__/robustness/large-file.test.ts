import { openSync, closeSync, ftruncateSync, readFileSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { loadWeights, openWeights, saveWeightsSync } from "keras-weights";

import { kernels, withFolder } from "./support.ts";

/** Puts `to` wherever the file says `from` in eight bytes. */
function patch(bytes: Buffer, from: number, to: number): number {
  const wanted = Buffer.alloc(8);
  wanted.writeBigUInt64LE(BigInt(from));
  let count = 0;
  for (let at = bytes.indexOf(wanted); at !== -1; at = bytes.indexOf(wanted, at + 1)) {
    bytes.writeBigUInt64LE(BigInt(to), at);
    count += 1;
  }
  return count;
}

/** A file with one tensor of so many elements, nearly all of it a hole that takes no disk. */
function sparse(path: string, elements: number): void {
  const few = 31_337;
  const values = Float32Array.from({ length: few }, (_, k) => k);
  saveWeightsSync(kernels(values), path);
  const bytes = readFileSync(path);
  const start = bytes.indexOf(Buffer.from(values.buffer));
  const end = start + 4 * elements;
  const head = bytes.subarray(0, start);
  // Shape (and largest shape), bytes of the data, end of the file.
  expect([patch(head, few, elements) > 0, patch(head, 4 * few, 4 * elements), patch(head, bytes.length, end)]).toEqual([
    true,
    1,
    1,
  ]);
  const file = openSync(path, "r+");
  writeSync(file, head, 0, head.length, 0);
  ftruncateSync(file, end);
  closeSync(file);
}

describe("a large file", () => {
  const elements = 128 << 20;

  it("of 512 MB is opened and seen without reading a tensor byte", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      sparse(path, elements);
      expect(statSync(path).size).toBeGreaterThan(512 << 20);
      const before = process.memoryUsage.rss();
      const file = await openWeights(path, { verify: "off" });
      const [entry] = file.entries();
      const { data } = file.get(entry!.path, "float32");
      expect([data.length, data[31_336], data[elements - 1]]).toEqual([elements, 31_336, 0]);
      expect(file.bytesRead).toBeLessThan(64 << 10);
      expect(process.memoryUsage.rss() - before).toBeLessThan(64 << 20);
      file.close();
    }));

  it("of nearly 4 GiB is one view on every Node", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      sparse(path, 900 << 20);
      const file = await openWeights(path, { verify: "off" });
      const { data } = file.get(file.entries()[0]!.path, "float32");
      expect([data.length, data[31_336], data[(900 << 20) - 1]]).toEqual([900 << 20, 31_336, 0]);
      expect(file.bytesRead).toBeLessThan(64 << 10);
      file.close();
    }));

  it("that cannot be had in memory is an error and no crash", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      // 2^42 bytes: a sparse file of that size is possible, memory for it is not.
      sparse(path, 2 ** 40 - 2 ** 20);
      const file = await openWeights(path, { verify: "off", access: "copy" });
      await expect(file.read(file.entries()[0]!.path)).rejects.toMatchObject({ code: "ERR_WEIGHTS_MEMORY" });
      const target = kernels(new Float32Array(5));
      await expect(loadWeights(target, path)).rejects.toMatchObject({ code: "ERR_WEIGHTS_SHAPE" });
      expect(target.variables[0]!.version).toBe(0);
    }));
});
