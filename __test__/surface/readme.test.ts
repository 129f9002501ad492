// The programs in README.md run and print what README.md says.
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";

const root = fileURLToPath(new URL("../../", import.meta.url));
const readme = readFileSync(join(root, "README.md"), "utf8");
const examples = [...readme.matchAll(/^```ts\n(.*?)^```\n\n```text\n(.*?)^```$/gms)].map((match) => ({
  program: match[1] ?? "",
  prints: match[2] ?? "",
}));

const folder = mkdtempSync(join(tmpdir(), "keras-weights-readme-"));
copyFileSync(join(root, "__test__/fixtures/mnist_dense/k3/model.weights.h5"), join(folder, "mnist.weights.h5"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

test("README has two programs with their output", () => {
  expect(examples.length).toBe(2);
});

test.each(examples)("program $#", ({ program, prints }) => {
  const file = join(folder, "program.mjs");
  writeFileSync(file, program.replaceAll('"keras-weights"', JSON.stringify(import.meta.resolve("keras-weights"))));
  expect(execFileSync(process.execPath, [file], { cwd: folder, encoding: "utf8" })).toBe(prints);
});
