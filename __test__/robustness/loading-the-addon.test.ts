import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

import { fixture, withFolder } from "./support.ts";

const built = fileURLToPath(new URL("../../dist", import.meta.url));
const file = fixture("mnist_dense/k3/model.weights.h5");

function run(code: string, folder: string, type: "module" | "commonjs"): unknown {
  const path = join(folder, type === "module" ? "main.mjs" : "main.cjs");
  writeFileSync(path, code);
  const { stdout, stderr } = spawnSync(process.execPath, [path], { encoding: "utf8" });
  if (stdout === "") throw new Error(stderr);
  return JSON.parse(stdout);
}

const use = `
  (async () => {
    const codes = [];
    for (const call of [() => weights.openWeights(file), () => weights.openWeightsSync(file), () => model.weights]) {
      try { await call(); codes.push("ok"); } catch (e) { codes.push([e.code, e.message.includes(process.arch), e.cause !== undefined]); }
    }
    console.log(JSON.stringify(codes));
  })();`;
const prepare = `const file = ${JSON.stringify(file)};
  const model = weights.sequential([weights.layers.input([2]), weights.layers.dense(3)]);`;

describe.each(["module", "commonjs"] as const)("the package as %s", (type) => {
  const load = (folder: string): string =>
    type === "module"
      ? `import * as weights from ${JSON.stringify(join(folder, "dist/index.mjs"))};`
      : `const weights = require(${JSON.stringify(join(folder, "dist/index.cjs"))});`;

  it("without its native binary imports, and says what is missing when it is needed", () => {
    withFolder((folder) => {
      cpSync(built, join(folder, "dist"), { recursive: true });
      const missing = ["ERR_WEIGHTS_NATIVE_MISSING", true, true];
      expect(run(load(folder) + prepare + use, folder, type)).toEqual([missing, missing, missing]);
      // The loader is there, but no binary for this platform.
      mkdirSync(join(folder, "native"));
      cpSync(join(built, "../native/binding.cjs"), join(folder, "native/binding.cjs"));
      expect(run(load(folder) + prepare + use, folder, type)).toEqual([missing, missing, missing]);
    });
  });

  it("with it does the work, and the process ends by itself", () => {
    withFolder((folder) => {
      expect(run(load(join(built, "..")) + prepare + use, folder, type)).toEqual(["ok", "ok", "ok"]);
    });
  });
});
