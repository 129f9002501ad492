/** Compressed HDF5: smaller, the same values, and refused where it means nothing. */
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { layers, openWeights, sequential, type SaveOptions } from "keras-weights";
import { afterAll, expect, test } from "vitest";

const folder = mkdtempSync(join(tmpdir(), "kw-compression-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const make = () =>
  sequential([layers.input([300]), layers.dense(200, { name: "large" }), layers.dense(3, { name: "small" })]);
const filled = () => {
  const model = make();
  model.setWeights(model.weights.map(({ size }, k) => Float32Array.from({ length: size }, (_, n) => (n % 97) / 8 + k)));
  return model;
};

test.each(["c.weights.h5", "c.h5"])("%s", async (name) => {
  const model = filled();
  const [plain, file] = [join(folder, `plain-${name}`), join(folder, name)];
  const report = await model.saveWeights(plain);
  const sizes: number[] = [];
  for (const compression of ["gzip", { level: 9 }, { level: 1, shuffle: false }] as const) {
    // A save in the place of another, asynchronous and not, from JavaScript's arrays.
    expect(await model.saveWeights(file, { compression })).toMatchObject({
      tensors: 4,
      tensorBytes: report.tensorBytes,
    });
    sizes.push(statSync(file).size);
    model.saveWeightsSync(file, { compression });
    expect(statSync(file).size).toBe(sizes.at(-1));
    const again = make();
    expect(await again.loadWeights(file)).toMatchObject({ missing: [], unexpected: [] });
    expect(again.getWeights().map(({ data }) => data)).toEqual(model.getWeights().map(({ data }) => data));
  }
  for (const size of sizes) expect(size).toBeLessThan(statSync(plain).size / 4);
  expect(new Set(sizes).size).toBeGreaterThan(1);

  // Every tensor carries a digest of its values, compressed or not.
  await using opened = await openWeights(file);
  expect(await opened.verify()).toMatchObject({ verified: 4, withoutDigest: [], failed: [] });
  const bytes = readFileSync(file);
  bytes[Math.floor(bytes.length * 0.9)]! ^= 4;
  writeFileSync(join(folder, `damaged-${name}`), bytes);
  await expect(make().loadWeights(join(folder, `damaged-${name}`))).rejects.toMatchObject({ name: "WeightsError" });
});

test("what it does not belong to, and levels that there are not", async () => {
  const refused: [string, SaveOptions][] = [
    ["c.npz", { compression: "gzip" }],
    ["c", { compression: "gzip" }],
    ["c.weights.h5", { compression: { level: 0 } }],
    ["c.weights.h5", { compression: "lzf" as "gzip" }],
  ];
  for (const [name, options] of refused) {
    const wanted = { code: "ERR_WEIGHTS_ARGUMENT" };
    await expect(filled().saveWeights(join(folder, name), options)).rejects.toMatchObject(wanted);
  }
});
