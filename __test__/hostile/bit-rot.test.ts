import { execFile } from "node:child_process";
import { cpSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { describe, expect, it } from "vitest";

import { verifyWeights } from "keras-weights";

import { fixture, withFolder } from "../robustness/support.ts";

interface Row {
  readonly format: string;
  readonly region: "payload" | "rest";
  readonly bytes: number;
  readonly flips: number;
  readonly detected: number;
  readonly wrong: readonly string[];
}

const script = fileURLToPath(new URL("../../scripts/bit-rot.mjs", import.meta.url));
const flips = 25;

/** The long form is `npm run bitrot`: 300 flips of each kind. */
describe("a bit that flips in a file of ours", { timeout: 300_000 }, () => {
  it("is found or harmless, in every format, in the payload and beside it", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [script, "--json", "--flips", String(flips)]);
    const rows = JSON.parse(stdout) as Row[];
    expect(new Set(rows.map(({ format }) => format)).size).toBe(9);
    for (const { format, region, bytes, flips: done, detected, wrong } of rows) {
      expect(wrong, `${format} ${region}`).toEqual([]);
      expect([done, bytes > 100, detected > 0], `${format} ${region}`).toEqual([flips, true, true]);
    }
  });
});

describe("verifyWeights", () => {
  const unnamed = expect.stringMatching(/^names, shapes and attributes/u) as string;
  const valuesOf = (count: number): string => `the values of ${count} tensors: the file keeps no checksum of them`;
  const cases: [file: string, verified: number, unchecked: string[]][] = [
    ["mnist_dense/k3/model.weights.h5", 0, [valuesOf(4), unnamed]],
    ["cnn_bn/k3/model.keras", 13, []],
    ["cnn_bn/k2/ckpt/w", 12, []],
    ["_arrays/deflated.npz", 6, []],
    ["_arrays/all.safetensors", 0, [expect.stringMatching(/^the values of \d+ tensors/u) as string, expect.stringMatching(/^names/u) as string]], // prettier-ignore
  ];

  it.each(cases)("says of %s what could not be checked", async (file, verified, unchecked) => {
    const report = await verifyWeights(fixture(file));
    expect(report).toMatchObject({ failed: [], unchecked });
    expect(report.verified).toBeGreaterThanOrEqual(verified);
  });

  it("reports a tensor in an archive whose checksum does not fit", () =>
    withFolder(async (folder) => {
      for (const [name, path] of [
        ["a.npz", "_arrays/deflated.npz"],
        ["a.keras", "cnn_bn/k3/model.keras"],
      ] as const) {
        const bytes = readFileSync(fixture(path));
        let found = false;
        // Somewhere in the middle of the compressed or plain values.
        for (let at = bytes.length >> 1; at < bytes.length && !found; at += 97) {
          const damaged = Buffer.from(bytes);
          damaged[at]! ^= 4;
          writeFileSync(join(folder, name), damaged);
          const report = await verifyWeights(join(folder, name)).catch(() => undefined);
          found = report !== undefined && report.failed.length > 0;
        }
        expect(found, name).toBe(true);
      }
    }));

  it("reports the one tensor of a bundle that changed", () =>
    withFolder(async (folder) => {
      cpSync(fixture("cnn_bn/k2/ckpt"), folder, { recursive: true });
      const data = readdirSync(folder).find((name) => name.includes(".data-"));
      const bytes = readFileSync(join(folder, data!));
      bytes[10]! ^= 1;
      writeFileSync(join(folder, data!), bytes);
      const { failed } = await verifyWeights(join(folder, "w"));
      expect(failed).toHaveLength(1);
    }));
});
