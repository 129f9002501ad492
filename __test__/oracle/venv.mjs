// Real Keras for tests: a Python with requirements.txt, and a judge.py to talk to.
import { execFile, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const run = promisify(execFile);
const HERE = fileURLToPath(new URL(".", import.meta.url));
const PYTHON = process.platform === "win32" ? ["Scripts", "python.exe"] : ["bin", "python"];
const STALE_LOCK_MS = 60_000;

/**
 * A Python that has what requirements.txt says. KERAS_WEIGHTS_PYTHON names a ready one; otherwise a venv is made once,
 * outside the checkout, under a name that changes with the requirements.
 * @returns {Promise<string>} path of the interpreter
 */
export async function pythonOracle() {
  if (process.env.KERAS_WEIGHTS_PYTHON) return process.env.KERAS_WEIGHTS_PYTHON;
  const requirements = join(HERE, "requirements.txt");
  const hash = createHash("sha256")
    .update(await readFile(requirements))
    .digest("hex")
    .slice(0, 16);
  const cache = join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "keras-weights");
  const folder = join(cache, `oracle-${hash}`);
  const python = join(folder, ...PYTHON);
  const done = join(folder, "complete");
  if (existsSync(done)) return python;

  await mkdir(cache, { recursive: true });
  const unlock = await lock(`${folder}.lock`, done);
  try {
    if (existsSync(done)) return python;
    await rm(folder, { recursive: true, force: true }); // half of an interrupted one
    await run(process.platform === "win32" ? "python" : "python3", ["-m", "venv", folder]);
    const pip = ["-m", "pip", "install", "--disable-pip-version-check", "--quiet", "--no-deps", "-r", requirements];
    await run(python, pip, { maxBuffer: 1 << 26 });
    await writeFile(`${done}.part`, "");
    await rename(`${done}.part`, done);
    return python;
  } finally {
    await unlock();
  }
}

/**
 * Test files run at the same time: one makes the venv, the others wait. A killed owner's lock grows old and is removed.
 * @param {string} path a folder, since making one is atomic
 * @param {string} done exists when there is nothing left to wait for
 * @returns {Promise<() => Promise<void>>} unlock
 */
async function lock(path, done) {
  for (;;) {
    try {
      await mkdir(path);
      const alive = setInterval(() => utimes(path, new Date(), new Date()).catch(() => {}), STALE_LOCK_MS / 6);
      return () => (clearInterval(alive), rm(path, { recursive: true, force: true }));
    } catch (error) {
      if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EEXIST") throw error;
    }
    const held = await stat(path).catch(() => undefined);
    if (existsSync(done)) return async () => {};
    if (held && Date.now() - held.mtimeMs > STALE_LOCK_MS) await rm(path, { recursive: true, force: true });
    await sleep(500);
  }
}

/** One long-lived judge.py. Jobs are answered in order; a crash rejects every open one with the end of its stderr. */
export class Judge {
  /** @type {{ resolve: (answer: any) => void, reject: (error: Error) => void }[]} */
  #open = [];
  /** @type {Error | undefined} */
  #dead;
  #stderr = "";
  #process;
  /** @type {Promise<void>} */
  #ended;

  /**
   * @param {string} python from pythonOracle()
   * @param {2 | 3} kerasVersion
   */
  constructor(python, kerasVersion) {
    this.#process = spawn(python, [join(HERE, "judge.py"), "--keras", String(kerasVersion)], {
      stdio: ["pipe", "pipe", "pipe"],
    });
    this.#process.stderr.setEncoding("utf8").on("data", (text) => {
      this.#stderr = (this.#stderr + text).slice(-8000);
    });
    this.#process.stdin.on("error", () => {}); // the exit says more than EPIPE does
    const lines = createInterface({ input: this.#process.stdout, crlfDelay: Infinity });
    lines.on("line", (line) => {
      const job = this.#open.shift();
      try {
        job?.resolve(JSON.parse(line));
      } catch {
        job?.reject(new Error(`the judge did not answer in JSON: ${line.slice(0, 500)}`));
      }
    });
    this.#ended = new Promise((resolve) => {
      let told = false;
      const end = (/** @type {string} */ why) => {
        if (told) return;
        told = true;
        this.#dead = new Error(`the Keras ${kerasVersion} judge ${why}\n${this.#stderr}`);
        for (const job of this.#open.splice(0)) job.reject(this.#dead);
        resolve();
      };
      this.#process.on("error", (error) => end(`did not start: ${error.message}`));
      this.#process.on("close", (code, signal) => end(`ended with ${signal ?? code}`));
    });
  }

  /**
   * @param {{ op: string, [option: string]: unknown }} job see judge.py
   * @returns {Promise<any>} its answer; a refusal by Keras is an answer with `ok: false`, not a rejection
   */
  ask(job) {
    if (this.#dead) return Promise.reject(this.#dead);
    return new Promise((resolve, reject) => {
      this.#open.push({ resolve, reject });
      this.#process.stdin.write(`${JSON.stringify(job)}\n`);
    });
  }

  /** What the judge last wrote to stderr. */
  get log() {
    return this.#stderr;
  }

  /** Ends the judge after the jobs already asked. */
  async close() {
    this.#process.stdin.end();
    await this.#ended;
  }
}
