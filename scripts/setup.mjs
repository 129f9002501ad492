// Makes a checkout ready: dev dependencies, native addon, TypeScript build; each only when it is missing or older
// than its sources. Plain Node and no dependency, so that it runs on a fresh clone.
//
//   node scripts/setup.mjs [deps] [native] [ts] [--release | --debug] [--force]
//
// Without a name all three are done. --release asks for the optimized addon; without it any up-to-date addon
// will do, and a missing one is built for debugging, which is quicker and checks arithmetic overflow.
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";

import { npm, output, root, run } from "./lib/run.mjs";

const nativeStamp = join(root, "native", ".stamp.json");
const tsStamp = join(root, "native", ".stamp-ts.json");

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** Every file below `path` (a file or folder of the checkout), sorted. */
function filesBelow(path) {
  if (!existsSync(path)) return [];
  if (!statSync(path).isDirectory()) return [path];
  return readdirSync(path)
    .sort()
    .flatMap((name) => filesBelow(join(path, name)));
}

/** A digest of names and contents. Contents and not times, because git sets times as it likes. */
function digest(paths) {
  const hash = createHash("sha256");
  for (const file of paths.flatMap((path) => filesBelow(join(root, path)))) {
    hash
      .update(`${relative(root, file)}\0`)
      .update(readFileSync(file))
      .update("\0");
  }
  return hash.digest("hex");
}

/** Whether node_modules holds what package-lock.json says. */
function dependenciesAreCurrent() {
  const wanted = readJson(join(root, "package-lock.json"))?.packages;
  const found = readJson(join(root, "node_modules", ".package-lock.json"))?.packages;
  if (wanted === undefined || found === undefined) return false;
  return Object.entries(wanted).every(
    ([path, { version, optional, peer }]) => path === "" || optional || peer || found[path]?.version === version,
  );
}

function setUpDependencies({ force }) {
  if (!force && dependenciesAreCurrent()) return;
  console.log("installing dev dependencies (npm ci)");
  // No package needs its install script here, so none is run.
  run(...npm("ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"));
}

function setUpNative({ force, profile }) {
  const sources = digest(["Cargo.toml", "Cargo.lock", "crates"]);
  const stamp = readJson(nativeStamp);
  const built =
    existsSync(join(root, "native")) && readdirSync(join(root, "native")).some((name) => name.endsWith(".node"));
  const enough = stamp?.sources === sources && (profile === undefined || stamp.profile === profile);
  if (!force && built && enough) return;
  if (output("cargo", ["--version"]) === undefined) {
    console.error("The native addon must be built and cargo was not found: install Rust from https://rustup.rs");
    process.exit(1);
  }
  const chosen = profile ?? "debug";
  console.log(`building the native addon (${chosen})`);
  mkdirSync(join(root, "native"), { recursive: true });
  run("napi", [
    "build",
    "--platform",
    ...(chosen === "release" ? ["--release"] : []),
    ...["--manifest-path", "crates/node/Cargo.toml"],
    ...["--package-json-path", "package.json"],
    ...["--output-dir", "native"],
    ...["--js", "binding.cjs"],
    ...["--dts", "binding.d.cts"],
  ]);
  writeFileSync(nativeStamp, `${JSON.stringify({ profile: chosen, sources })}\n`);
}

function setUpTypeScript({ force }) {
  const sources = digest(["ts", "native/binding.d.cts", "tsdown.config.ts", "tsconfig.json", "package.json"]);
  if (!force && existsSync(join(root, "dist", "index.mjs")) && readJson(tsStamp)?.sources === sources) return;
  console.log("building TypeScript");
  rmSync(join(root, "dist"), { recursive: true, force: true });
  run("tsdown", ["--log-level", "warn"]);
  writeFileSync(tsStamp, `${JSON.stringify({ sources })}\n`);
}

const flags = process.argv.slice(2).filter((argument) => argument.startsWith("--"));
const names = process.argv.slice(2).filter((argument) => !argument.startsWith("--"));
const known = { flags: ["--release", "--debug", "--force"], names: ["deps", "native", "ts"] };
const unknown = [...flags.filter((f) => !known.flags.includes(f)), ...names.filter((n) => !known.names.includes(n))];
if (unknown.length > 0) {
  console.error(
    `setup: unknown argument ${unknown.join(", ")}; known: ${known.names.join(", ")}, ${known.flags.join(", ")}`,
  );
  process.exit(2);
}
const wanted = new Set(names.length === 0 ? known.names : names);
const profile = flags.includes("--release") ? "release" : flags.includes("--debug") ? "debug" : undefined;
const force = flags.includes("--force");

setUpDependencies({ force: force && names.includes("deps") });
if (wanted.has("native")) setUpNative({ force, profile });
if (wanted.has("ts")) setUpTypeScript({ force });
