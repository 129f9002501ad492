import { describe, expect, it } from "vitest";

import { child, fixture, withFolder } from "./support.ts";

interface Held {
  readonly rss: number;
  readonly mappings: number;
  readonly ofFile: number;
  readonly files: number;
}

// Counts come from /proc.
describe.runIf(process.platform === "linux")("nothing stays behind", () => {
  it("after 1,000 times opening, reading and dropping a file", { timeout: 180_000 }, () => {
    const file = fixture("mnist_dense/k3/model.weights.h5");
    const { before, after } = child("cycles.mjs", [file, "layers/dense/vars/0", "1001"]) as {
      before: Held;
      after: Held;
    };
    // A leak of every tensor would be 200 MB, a leak of every mapping 1,000.
    expect(after.rss - before.rss).toBeLessThan(40 << 20);
    expect(after.mappings - before.mappings).toBeLessThan(40);
    // The model holds what was loaded last.
    expect(after.ofFile).toBeLessThanOrEqual(3);
    expect(after.files - before.files).toBeLessThanOrEqual(1);
  });

  it("after 100 workers that were ended in the middle of their work", { timeout: 180_000 }, () => {
    withFolder((folder) => {
      const { before, after, value, whole } = child("workers.mjs", [folder, "100"]) as {
        before: Held;
        after: Held;
        value: number;
        whole: boolean;
      };
      expect([value, whole]).toEqual([2, true]);
      // 50 workers read 32 MB each, 25 held 16 MB.
      expect(after.rss - before.rss).toBeLessThan(150 << 20);
      expect(after.mappings - before.mappings).toBeLessThan(60);
      expect(after.ofFile).toBe(0);
      expect(after.files - before.files).toBeLessThanOrEqual(2);
    });
  });
});
