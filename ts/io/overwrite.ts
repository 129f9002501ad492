import { existsSync, readSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";

import { WeightsError } from "../errors.ts";
import { argumentError } from "./job.ts";

/**
 * What happens to a file that exists: `true` replaces it, `false` fails with ERR_WEIGHTS_EXISTS, `"prompt"` asks on the
 * terminal in Keras' words, a function is asked with the path.
 */
export type Overwrite = boolean | "prompt" | ((path: string) => boolean | Promise<boolean>);

/** {@link Overwrite} for verbs that do not wait. */
export type OverwriteSync = boolean | "prompt" | ((path: string) => boolean);

// Keras' own words, so that whoever answers by a script need not change it.
const question = (path: string): string => `[WARNING] ${path} already exists - overwrite? [y/n]`;
const again = 'Enter "y" (overwrite) or "n" (cancel).';
const tip = "[TIP] Next time specify overwrite=True!\n";

function unanswered(path: string): WeightsError {
  return new WeightsError("ERR_WEIGHTS_EXISTS", `${path} already exists, and nobody answered whether to replace it`, {
    file: path,
  });
}

/** The answer, once there is one. */
function decided(answer: string): boolean | undefined {
  const word = answer.trim().toLowerCase();
  return word === "y" ? true : word === "n" ? false : undefined;
}

async function prompt(path: string, signal: AbortSignal | undefined): Promise<boolean> {
  const terminal = createInterface({ input: process.stdin });
  const leave = (): void => {
    terminal.close();
  };
  signal?.addEventListener("abort", leave, { once: true });
  try {
    process.stdout.write(question(path));
    for await (const line of terminal) {
      const answer = decided(line);
      if (answer === undefined) {
        process.stdout.write(again);
        continue;
      }
      if (answer) process.stdout.write(tip);
      return answer;
    }
  } finally {
    signal?.removeEventListener("abort", leave);
    terminal.close();
  }
  signal?.throwIfAborted();
  throw unanswered(path);
}

/** One line of standard input, without the line's end; undefined at the end of the input. */
function readLine(): string | undefined {
  const byte = Buffer.alloc(1);
  const bytes: number[] = [];
  for (;;) {
    let count: number;
    try {
      count = readSync(0, byte);
    } catch (error) {
      // A terminal that libuv made non-blocking has nothing yet.
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
      continue;
    }
    if (count === 0) return bytes.length > 0 ? Buffer.from(bytes).toString() : undefined;
    if (byte[0] === 10) return Buffer.from(bytes).toString();
    bytes.push(byte[0] ?? 0);
  }
}

function promptSync(path: string): boolean {
  writeSync(1, question(path));
  for (;;) {
    const line = readLine();
    if (line === undefined) throw unanswered(path);
    const answer = decided(line);
    if (answer === true) writeSync(1, tip);
    if (answer !== undefined) return answer;
    writeSync(1, again);
  }
}

function check(overwrite: unknown): void {
  if (typeof overwrite !== "boolean" && overwrite !== "prompt" && typeof overwrite !== "function") {
    throw argumentError(`overwrite is true, false, "prompt" or a function, not ${String(overwrite)}`);
  }
}

/** What the writer is told: whether it may replace a file. Whoever is to be asked is asked later. */
export function mayReplace(overwrite: Overwrite): boolean {
  check(overwrite);
  return overwrite !== false;
}

/** Somebody to ask. */
type Asked = "prompt" | ((path: string) => boolean | Promise<boolean>);

/** Whether there is a file to be asked about, and somebody to ask. */
export function mustAsk(path: string, overwrite: Overwrite): overwrite is Asked {
  return typeof overwrite !== "boolean" && existsSync(path);
}

/** Whether the file may be replaced. */
export async function ask(path: string, asked: Asked, signal: AbortSignal | undefined): Promise<boolean> {
  return asked === "prompt" ? prompt(path, signal) : asked(path);
}

/** {@link ask}, here and now. */
export function askSync(path: string, asked: Asked): boolean {
  if (asked === "prompt") return promptSync(path);
  const answer: unknown = asked(path);
  if (typeof answer !== "boolean") throw argumentError("a function given as overwrite here must answer true or false");
  return answer;
}

/** Formats whose name is that of a file, and not a prefix. */
const ofFiles =
  /\.(?:h5|hdf5|keras|safetensors|npz)$|\.weights\.json$|\.safetensors\.index\.json$|(?:^|[\\/])model\.json$/u;

/** The file whose presence means that a save to `path` would replace something. */
export function replacedBy(
  path: string,
  {
    saveFormat,
    maxShardSize,
    maxShardBytes,
  }: { saveFormat?: string | undefined; maxShardSize?: unknown; maxShardBytes?: unknown },
): string {
  const prefix = saveFormat === undefined ? !ofFiles.test(path) : /^(?:tf|tensorflow|tf_checkpoint)$/u.test(saveFormat);
  if (prefix) return `${path}.index`;
  const sharded = maxShardSize !== undefined || maxShardBytes !== undefined;
  return sharded && path.endsWith(".safetensors") ? `${path}.index.json` : path;
}
