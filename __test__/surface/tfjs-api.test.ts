// The entry keras-weights/tfjs: what it exports, and that it knows TensorFlow.js by shape alone.
import { readdirSync, readFileSync } from "node:fs";
import * as entry from "keras-weights/tfjs";
import { expect, test } from "vitest";

const dist = new URL("../../dist/", import.meta.url);

test("values", () => {
  expect(Object.keys(entry).sort()).toEqual([
    "copyWeights",
    "getWeights",
    "keepFrozenNormalization",
    "loadLayersModel",
    "loadWeights",
    "modelCheckpoint",
    "registerLayers",
    "saveModel",
    "saveWeights",
    "setWeights",
    "translateConfig",
  ]);
});

test("nothing imports TensorFlow.js, no declaration either", () => {
  const files = readdirSync(dist).filter((name) => /\.[cm](?:js|ts)$/u.test(name));
  expect(files.length).toBeGreaterThan(7);
  const importing = files.filter((name) => {
    const code = readFileSync(new URL(name, dist), "utf8").replaceAll(/^\s*\*.*$/gmu, "");
    return /(?:from|require\(|import\()\s*["']@tensorflow/u.test(code);
  });
  expect(importing).toEqual([]);
});
