// What we build on, judged without a network: licences, sources, and that nothing comes twice into the addon. The lists of
// known holes change every day and are asked for by CI's job "advisories" (docs/decisions/0010-dependencies.md).
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { output, root } from "./lib/run.mjs";

/** Those that can stand beside MIT OR Apache-2.0 in one binary. `deny.toml` has the same list. */
const licences = new Set(["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "BSD-3-Clause", "ISC", "Zlib", "0BSD", "Unlicense", "Unicode-3.0"]); // prettier-ignore

const problems = [];

/** Whether a licence expression can be met by what is allowed: any of those between OR, all of those between AND. */
function allowed(expression) {
  const parts = expression.replace(/^\((.*)\)( AND .*)$/u, "$1$2").split(" AND ");
  return parts.every((part) => part.split(/ OR |\//u).some((name) => licences.has(name.replace(/[()]/gu, "").trim())));
}

const text = output("cargo", ["metadata", "--format-version", "1", "--locked"]);
if (text === undefined) problems.push("cargo metadata failed: is Cargo.lock up to date?");
const { packages = [] } = JSON.parse(text ?? "{}");
const seen = new Map();
for (const { name, version, license, source } of packages) {
  if (source === null) continue;
  if (source !== "registry+https://github.com/rust-lang/crates.io-index") problems.push(`${name} ${version} comes from ${source}`); // prettier-ignore
  if (license === null || !allowed(license)) problems.push(`${name} ${version} has the licence ${license}`);
  if (seen.has(name)) problems.push(`${name} is there twice: ${seen.get(name)} and ${version}`);
  seen.set(name, version);
}

const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const runtime = Object.keys(manifest.dependencies ?? {});
if (runtime.length > 0) problems.push(`the npm package has no runtime dependencies, but lists ${runtime.join(", ")}`);
const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8"));
for (const [path, { integrity, resolved }] of Object.entries(lock.packages)) {
  if (path === "") continue;
  if (integrity === undefined) problems.push(`${path} has no checksum in package-lock.json`);
  if (resolved !== undefined && !resolved.startsWith("https://registry.npmjs.org/")) problems.push(`${path} comes from ${resolved}`); // prettier-ignore
}

for (const problem of problems) console.error(problem);
console.log(`${seen.size} crates, ${Object.keys(lock.packages).length - 1} development packages, ${problems.length} problems`); // prettier-ignore
process.exit(problems.length > 0 ? 1 : 0);
