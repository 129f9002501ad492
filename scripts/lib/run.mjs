// Running other programs, and the places that scripts share.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Root of the checkout. */
export const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** Folder for what is dear to make and safe to lose. It lies outside the checkout. */
export const cacheFolder = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "keras-weights");

/**
 * Cargo's target folder. One for each checkout: two checkouts in one folder would overwrite each other's
 * addon, because cargo gives a cdylib no hash in its file name.
 */
export const targetFolder =
  process.env["CARGO_TARGET_DIR"] ??
  join(cacheFolder, `target-${createHash("sha256").update(root).digest("hex").slice(0, 8)}`);

/** The environment of every program we start: cargo's cache, and the tools of node_modules first on PATH. */
export function environment(extra = {}) {
  const separator = process.platform === "win32" ? ";" : ":";
  return {
    ...process.env,
    CARGO_TARGET_DIR: targetFolder,
    PATH: `${join(root, "node_modules", ".bin")}${separator}${process.env["PATH"] ?? ""}`,
    ...extra,
  };
}

/**
 * Runs a program in the checkout and shows what it prints. Ends this process with the program's exit code
 * when it fails, unless `allowFailure`.
 */
export function run(command, args, { env = {}, cwd = root, allowFailure = false, quiet = false } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    env: environment(env),
    stdio: quiet ? ["ignore", "ignore", "inherit"] : ["ignore", "inherit", "inherit"],
    shell: process.platform === "win32",
  });
  if (result.error) {
    console.error(`could not start ${command}: ${result.error.message}`);
    if (!allowFailure) process.exit(1);
  }
  const code = result.status ?? 1;
  if (code !== 0 && !allowFailure) {
    console.error(`failed (${code}): ${command} ${args.join(" ")}`);
    process.exit(code);
  }
  return code;
}

/** Runs a program and gives what it prints on stdout, or `undefined` when it cannot be started or fails. */
export function output(command, args, { env = {}, cwd = root } = {}) {
  const result = spawnSync(command, args, {
    cwd,
    env: environment(env),
    encoding: "utf8",
    maxBuffer: 1 << 28,
    stdio: ["ignore", "pipe", "ignore"],
    shell: process.platform === "win32",
  });
  return result.status === 0 ? result.stdout : undefined;
}

/** npm as a command and its first arguments: the npm that runs us, else the one on PATH. */
export function npm(...args) {
  const cli = process.env["npm_execpath"];
  return cli !== undefined && cli.endsWith(".js") ? [process.execPath, [cli, ...args]] : ["npm", args];
}
