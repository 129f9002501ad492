// Builds the addon as it is shipped and puts it into `artifacts/`.
//
//   node scripts/build-addon.mjs                       this platform
//   node scripts/build-addon.mjs --target <triple>     another one of scripts/lib/platforms.mjs
//   node scripts/build-addon.mjs --target <triple> --no-zig
//
// Linux targets are linked by zig, against glibc 2.17 or musl: the addon then runs on systems of the last twelve years,
// and the machine that builds it needs no cross compiler. zig comes from PyPI into a venv in the cache folder.
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";

import { addonFile, hostPlatform, platforms } from "./lib/platforms.mjs";
import { cacheFolder, output, root, run, targetFolder } from "./lib/run.mjs";

const zigPackages = ["cargo-zigbuild==0.24.0", "ziglang==0.17.1"];

/** Folder with `cargo-zigbuild`, and the `python` whose package is zig. */
function zig() {
  const venv = join(cacheFolder, "zig");
  const bin = join(venv, process.platform === "win32" ? "Scripts" : "bin");
  if (!existsSync(join(bin, "cargo-zigbuild"))) {
    mkdirSync(cacheFolder, { recursive: true });
    run(process.platform === "win32" ? "python" : "python3", ["-m", "venv", venv]);
    run(join(bin, "python"), ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", ...zigPackages]);
  }
  return bin;
}

/** Builds one platform and returns the path of the addon. */
export function buildAddon(platform, { withZig = platform.zig !== undefined, folder = join(root, "artifacts") } = {}) {
  const target = withZig ? platform.zig : platform.target;
  const env = { CARGO_INCREMENTAL: "0" };
  // By default Rust links musl statically, which a shared library cannot do.
  if (platform.libc === "musl")
    env.RUSTFLAGS = `${process.env["RUSTFLAGS"] ?? ""} -C target-feature=-crt-static`.trim();
  if (withZig) env.PATH = `${zig()}${delimiter}${process.env["PATH"]}`;
  run("cargo", [withZig ? "zigbuild" : "build", "--release", "--locked", "-p", "kw-node", "--target", target], { env });
  const library = { linux: "libkw_node.so", darwin: "libkw_node.dylib", win32: "kw_node.dll" }[platform.os];
  mkdirSync(folder, { recursive: true });
  const addon = join(folder, addonFile(platform));
  copyFileSync(join(targetFolder, platform.target, "release", library), addon);
  return addon;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const args = process.argv.slice(2);
  const at = args.indexOf("--target");
  const wanted = at < 0 ? undefined : args[at + 1];
  const platform =
    wanted === undefined ? hostPlatform() : platforms.find((p) => p.target === wanted || p.zig === wanted);
  if (platform === undefined || output("cargo", ["--version"]) === undefined) {
    console.error(platform === undefined ? `no such platform: ${wanted ?? "this one"}` : "cargo was not found");
    process.exit(2);
  }
  console.log(buildAddon(platform, args.includes("--no-zig") ? { withZig: false } : {}));
}
