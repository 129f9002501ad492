// The dependency rules of docs/ARCHITECTURE.md that no compiler keeps.
import { readFileSync, readdirSync, statSync } from "node:fs";
import { dirname, join, relative, sep } from "node:path";

import { root } from "./lib/run.mjs";
import { cargoPackages, formatFeatures } from "./lib/workspace.mjs";

/** Which of our crates each crate may use, in `[dependencies]`. Tests may use what they like below them. */
const allowed = {
  "kw-model": [],
  "kw-map": ["kw-model"],
  "kw-formats": ["kw-model"],
  "kw-keras": ["kw-model", "kw-formats"],
  "kw-node": ["kw-model", "kw-map", "kw-formats", "kw-keras"],
};

/** Crates that only these may use. */
const reserved = [
  { pattern: /^napi(-|$)/, only: ["kw-node"], why: "only crates/node knows napi" },
  { pattern: /^memmap2$/, only: ["kw-map"], why: "only crates/map maps files" },
  {
    pattern: /^(hdf5-reader|hdf5-metno|zip|safetensors|snap)$/,
    only: ["kw-formats"],
    why: "containers are parsed in crates/formats",
  },
];

/** Where `unsafe` may be written. All other crates forbid it in their own `lib.rs`. */
const mayBeUnsafe = ["kw-map", "kw-node"];

const problems = [];
const problem = (file, line, text) => problems.push(`${relative(root, file)}${line ? `:${line}` : ""}: ${text}`);

function files(folder, suffix) {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    if (statSync(path).isDirectory()) return files(path, suffix);
    return path.endsWith(suffix) ? [path] : [];
  });
}

/** Lines of a Rust file without comments, numbered from 1; string contents stay (no rule below is fooled by them). */
function codeLines(path) {
  return readFileSync(path, "utf8")
    .split("\n")
    .map((text, index) => ({ text: text.replace(/\/\/.*$/, ""), line: index + 1 }));
}

const packages = cargoPackages();
for (const found of packages) {
  if (!(found.name in allowed)) {
    problem(found.manifest_path, 0, `crate ${found.name} has no row in scripts/check-layers.mjs`);
    continue;
  }
  for (const dependency of found.dependencies) {
    const ours = dependency.name in allowed;
    // A crate's tests may switch features of lower crates on, but never reach up either.
    if (ours && dependency.name !== found.name && !allowed[found.name].includes(dependency.name)) {
      problem(found.manifest_path, 0, `${found.name} may not use ${dependency.name} (node → keras → formats → model)`);
    }
    for (const { pattern, only, why } of reserved) {
      if (dependency.kind !== "dev" && pattern.test(dependency.name) && !only.includes(found.name)) {
        problem(found.manifest_path, 0, `${found.name} may not use ${dependency.name}: ${why}`);
      }
    }
  }

  const library = found.targets.find((target) => target.kind.some((kind) => ["lib", "cdylib"].includes(kind)));
  const source = dirname(library.src_path);
  if (!mayBeUnsafe.includes(found.name)) {
    if (!readFileSync(library.src_path, "utf8").includes("#![forbid(unsafe_code)]")) {
      problem(library.src_path, 0, "#![forbid(unsafe_code)] is missing");
    }
  }
  for (const path of files(source, ".rs")) {
    for (const { text, line } of codeLines(path)) {
      if (/\bunsafe\s*(\{|fn|impl|trait|extern)/.test(text) && !mayBeUnsafe.includes(found.name)) {
        problem(path, line, "unsafe outside crates/map and crates/node");
      }
    }
  }
}

// A format never imports a sibling, and what formats share imports no format. `zip` lies below: others may read members.
const formats = packages.find((found) => found.name === "kw-formats");
const formatsSource = join(dirname(formats.manifest_path), "src");
const modules = formatFeatures()
  .map((feature) => feature.replaceAll("-", "_"))
  .filter((name) => name !== "zip");
for (const path of files(formatsSource, ".rs")) {
  const own = relative(formatsSource, path).split(sep)[0].replace(/\.rs$/, "");
  if (own === "lib") continue;
  for (const { text, line } of codeLines(path)) {
    for (const [, name] of text.matchAll(/\bcrate::(\w+)/g)) {
      if (name !== own && modules.includes(name)) problem(path, line, `${own} imports the format ${name}`);
    }
  }
}

for (const text of problems) console.error(text);
console.log(
  problems.length === 0 ? `layers: ${packages.length} crates keep the rules` : `${problems.length} broken rules`,
);
process.exit(problems.length === 0 ? 0 : 1);
