import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";

import { recordedByKeras } from "../../examples/transfer/digits.ts";
import { transfer } from "../../examples/transfer/transfer.ts";
import "./predictions.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "keras-weights-transfer-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

it("the example of transfer learning comes out as it says", async () => {
  const result = await transfer(join(folder, "best.weights.h5"));
  expect(result.baseCorrect).toBe(recordedByKeras.correct);
  expect(String(result.copied)).toBe("3 layers copied: strokes, normalized, shapes. 1 layer not used: digits.");
  expect(result.correctBefore).toBeLessThan(0.4 * result.total);
  expect(result.best).toBe(Math.min(...result.losses));
  expect(result.baseUnchanged).toBe(true);
  // `generate.py best.weights.h5` says the same number of Keras 3.15.1.
  expect([result.correctAfter, result.total]).toEqual([176, 180]);
});
