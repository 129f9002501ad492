import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { describe, expect, it } from "vitest";

interface Report {
  readonly format: string;
  readonly mutants: number;
  readonly accepted: number;
  readonly refused: Readonly<Record<string, number>>;
  readonly findings: readonly { readonly n: number; readonly kind: string; readonly detail: string }[];
}

const script = fileURLToPath(new URL("../../scripts/mutants.mjs", import.meta.url));
const count = 60;

/** The long form is `npm run mutants`: 10,000 of each format. */
async function mutants(...args: string[]): Promise<Report[]> {
  const { stdout } = await promisify(execFile)(process.execPath, [script, "--json", ...args], { maxBuffer: 1 << 24 });
  return JSON.parse(stdout) as Report[];
}

describe("mutants of real files, opened through the public API", { timeout: 300_000 }, () => {
  it("end in values or in an error of ours, whatever was changed", async () => {
    const reports = await mutants("--count", String(count));
    expect(reports.length).toBeGreaterThanOrEqual(10);
    for (const { format, mutants: done, accepted, refused, findings } of reports) {
      expect(findings, format).toEqual([]);
      expect(done, format).toBe(count);
      // Mutants that are all refused, or all accepted, would test nothing.
      expect(accepted, format).toBeGreaterThan(0);
      expect(Object.keys(refused).length, format).toBeGreaterThan(1);
    }
  });
});
