// TensorFlow reads the checkpoints that a loss of power leaves behind in the middle of an overwrite. The states are those of
// crates/keras/tests/power_loss.rs, which makes sure that our own reader finds all of them whole.
import { execFile } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, it } from "vitest";

import { pythonOracle } from "./venv.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const run = promisify(execFile);

it("a checkpoint is loadable at every step of an overwrite, by TensorFlow too", async () => {
  const folder = mkdtempSync(join(tmpdir(), "keras-weights-states-"));
  try {
    const test = ["test", "--quiet", "-p", "kw-keras", "--test", "power_loss", "a_loss_of_power"];
    await run("cargo", test, { cwd: root, env: { ...process.env, KERAS_WEIGHTS_STATES: folder } });
    const states = readdirSync(folder).length;
    const python = await pythonOracle();
    const script = fileURLToPath(new URL("states.py", import.meta.url));
    const { stdout } = await run(python, [script, folder], { maxBuffer: 1 << 24 });
    const [counts, digests] = stdout.trim().split("\n").map((line) => JSON.parse(line) as unknown); // prettier-ignore
    // One content for each kind and age, in as many states as there are.
    const numbers = Object.values(counts as Record<string, number[]>);
    expect(Object.keys(counts as object).sort()).toEqual(["bundle-new", "bundle-old", "bundle_shards-new", "bundle_shards-old"]); // prettier-ignore
    expect(numbers.every((list) => list.length === 1)).toBe(true);
    expect(numbers.flat().reduce((sum, count) => sum + count, 0)).toBe(states);
    expect(states).toBeGreaterThan(50);
    expect(new Set(Object.values(digests as Record<string, string>)).size).toBeGreaterThanOrEqual(2);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
