// Installs packed tarballs as a stranger would, and uses them.
import { spawnSync } from "node:child_process";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";

import { npm, root } from "./run.mjs";

/** A model that Keras saved, and Keras' own digest of every weight. */
const fixture = join(root, "__test__", "fixtures", "mnist_dense", "k3");

/** A program that loads it through the installed package and prints the digest of every weight. */
const program = (load) => `
${load}
const { createHash } = await import("node:crypto");
const model = sequential([layers.input([784]), layers.dense(64, { activation: "relu" }), layers.dense(10)]);
await model.loadWeights("model.weights.h5");
const sha256 = ({ data }) =>
  createHash("sha256").update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)).digest("hex");
console.log(model.getWeights().map(sha256).join(" "));
`;

/** An environment without cargo and rustc, and without anything of this checkout. */
function withoutRust() {
  const env = Object.fromEntries(
    Object.entries(process.env).filter(([name]) => !/^(npm_|CARGO|RUST|NODE_PATH|NAPI_RS)/i.test(name)),
  );
  const hidden = (folder) =>
    ["cargo", "rustc", "cargo.exe", "rustc.exe"].some((name) => existsSync(join(folder, name)));
  const folders = (process.env["PATH"] ?? "")
    .split(delimiter)
    .filter((f) => f !== "" && !f.startsWith(root) && !hidden(f));
  return { ...env, PATH: [dirname(process.execPath), ...folders].join(delimiter) };
}

function step(checks, name, command, args, cwd) {
  const result = spawnSync(command, args, {
    cwd,
    env: withoutRust(),
    encoding: "utf8",
    shell: process.platform === "win32",
  });
  const ok = result.status === 0;
  checks.push({
    name,
    ok,
    detail: ok ? result.stdout.trim() : `${result.stdout}${result.stderr}${result.error ?? ""}`.trim(),
  });
  return ok ? result.stdout : undefined;
}

/** Packs one folder into `into` and gives the tarball's path and the names in it. */
export function pack(folder, into) {
  mkdirSync(into, { recursive: true });
  const [command, args] = npm("pack", "--json", "--ignore-scripts", "--pack-destination", into, "--loglevel=error");
  const result = spawnSync(command, args, { cwd: folder, encoding: "utf8", shell: process.platform === "win32" });
  if (result.status !== 0) throw new Error(`npm pack failed in ${folder}: ${result.stderr}`);
  // npm 11 prints an array, npm 12 an object by name.
  const parsed = JSON.parse(result.stdout);
  const [report] = Array.isArray(parsed) ? parsed : Object.values(parsed);
  return { tarball: join(into, report.filename), files: report.files.map((file) => file.path), size: report.size };
}

/**
 * Installs the root and the platform tarball into an empty folder, with Rust hidden, and runs `require` and `import`
 * on a real file. Also without the platform package: the error must say what to install.
 * Returns `[{ name, ok, detail }]`.
 */
export function tryTarballs({ rootTarball, platformTarball, platformName }) {
  const checks = [];
  const folder = mkdtempSync(join(tmpdir(), "keras-weights-install-"));
  try {
    writeFileSync(join(folder, "package.json"), '{ "private": true }\n');
    copyFileSync(join(fixture, "model.weights.h5"), join(folder, "model.weights.h5"));
    writeFileSync(join(folder, "esm.mjs"), program('import { layers, sequential } from "keras-weights";'));
    writeFileSync(
      join(folder, "cjs.cjs"),
      `(async () => {${program('const { layers, sequential } = require("keras-weights");')}})();`,
    );

    // The other platform packages are not published while this runs: --omit=optional keeps npm from asking for them,
    // and the one that fits is installed by hand, as npm would.
    const install = ["install", "--no-audit", "--no-fund", "--omit=optional", "--loglevel=error"];
    step(checks, "installs with no Rust", ...npm(...install, rootTarball, platformTarball), folder);
    const recorded = JSON.parse(readFileSync(join(fixture, "expected.json"), "utf8"));
    const expected = recorded.get_weights.map((weight) => weight.sha256).join(" ");
    for (const [name, file] of [
      ["import", "esm.mjs"],
      ["require", "cjs.cjs"],
    ]) {
      const printed = step(checks, `${name} loads a file by Keras`, process.execPath, [file], folder)?.trim();
      if (printed !== undefined) {
        checks.push({
          name: `${name} gives Keras' values`,
          ok: printed === expected,
          detail: `${printed} (expected ${expected})`,
        });
      }
    }
    const installed = readdirSync(join(folder, "node_modules")).filter((name) => name.startsWith("keras-weights"));
    checks.push({ name: "only the packages asked for", ok: installed.length === 2, detail: installed.join(", ") });

    rmSync(join(folder, "node_modules", platformName), { recursive: true });
    const alone = spawnSync(process.execPath, ["esm.mjs"], { cwd: folder, env: withoutRust(), encoding: "utf8" });
    const said =
      alone.status !== 0 && alone.stderr.includes("ERR_WEIGHTS_NATIVE_MISSING") && alone.stderr.includes(platformName);
    checks.push({ name: "a missing platform package is named", ok: said, detail: alone.stderr.trim() });
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  return checks;
}
