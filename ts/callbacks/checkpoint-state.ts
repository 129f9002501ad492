// What a checkpoint callback remembers across processes, in a small JSON file beside the checkpoints.
import { open, readFile, rename, rm, stat } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";

import { WeightsError } from "../errors.ts";
import { latestPrefix } from "../io/latest.ts";
import { checkpointExists, newestMatch, stateFile } from "./checkpoint-pattern.ts";

/** One checkpoint that was written. */
export interface SavedCheckpoint {
  /** Its path, or the prefix of a TensorFlow checkpoint. */
  readonly path: string;
  /** The epoch in which it was written, from 0. */
  readonly epoch: number;
  /** The batch after which it was written, from 0; absent: at the end of the epoch. */
  readonly batch?: number;
  /** The watched value at that time, if there was one. */
  readonly value?: number;
}

/** All that is remembered. */
export interface CheckpointState {
  /** Checkpoints that still exist, oldest first. */
  readonly saved: readonly SavedCheckpoint[];
  /** The best value so far. */
  readonly best?: number | undefined;
}

/** The newest checkpoint of a template. */
export interface LatestCheckpoint {
  /** Its path, or the prefix of a TensorFlow checkpoint. */
  readonly path: string;
  /** Epochs that were done when it was written: the `initialEpoch` to go on with. Absent when no state was kept. */
  readonly initialEpoch?: number;
  /** The batch of `initialEpoch` after which it was written, from 0; absent when the epoch was done. */
  readonly batch?: number;
  /** The best value so far, if one was kept. */
  readonly best?: number;
}

// JSON has no word for these.
const words: Readonly<Record<string, number>> = {
  nan: Number.NaN,
  inf: Number.POSITIVE_INFINITY,
  "-inf": Number.NEGATIVE_INFINITY,
};

function toJson(value: number | undefined): number | string | undefined {
  if (value === undefined || Number.isFinite(value)) return value;
  return Object.keys(words).find((word) => Object.is(words[word], value));
}

function fromJson(value: unknown): number | undefined {
  if (typeof value === "number") return value;
  return typeof value === "string" ? words[value] : undefined;
}

/**
 * Reads a state; undefined when there is none.
 *
 * @throws ERR_WEIGHTS_CORRUPT when the file is something else.
 */
export async function readState(file: string): Promise<CheckpointState | undefined> {
  let text: string;
  try {
    text = await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new WeightsError("ERR_WEIGHTS_IO", `the state of the checkpoints cannot be read`, { file, cause: error });
  }
  try {
    const json = JSON.parse(text) as { version?: unknown; best?: unknown; saved?: unknown };
    if (json.version !== 1 || !Array.isArray(json.saved)) throw new TypeError("another kind of JSON");
    const saved = json.saved.map((entry: Record<string, unknown>) => savedFromJson(entry, dirname(file)));
    return { saved, best: fromJson(json.best) };
  } catch (cause) {
    throw new WeightsError("ERR_WEIGHTS_CORRUPT", `this is no state of checkpoints; remove it to start anew`, {
      file,
      cause,
    });
  }
}

function savedFromJson(entry: Record<string, unknown>, folder: string): SavedCheckpoint {
  const { path, epoch, batch } = entry;
  if (typeof path !== "string" || typeof epoch !== "number") throw new TypeError("no path or no epoch");
  const value = fromJson(entry["value"]);
  return {
    path: join(folder, path),
    epoch,
    ...(typeof batch === "number" ? { batch } : {}),
    ...(value === undefined ? {} : { value }),
  };
}

async function isFolder(path: string): Promise<boolean> {
  return stat(path).then(
    (found) => found.isDirectory(),
    () => false,
  );
}

/** Writes a state so that a crash leaves the old one or the new one. */
export async function writeState(file: string, state: CheckpointState): Promise<void> {
  const folder = dirname(resolve(file));
  const saved = state.saved.map(({ path, epoch, batch, value }) => ({
    path: relative(folder, resolve(path)).replaceAll("\\", "/"),
    epoch,
    batch,
    value: toJson(value),
  }));
  const text = `${JSON.stringify({ version: 1, best: toJson(state.best), saved }, undefined, 2)}\n`;
  const temporary = `${file}.${process.pid}.tmp`;
  try {
    const handle = await open(temporary, "w");
    try {
      await handle.writeFile(text);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await rename(temporary, file);
  } catch (cause) {
    await rm(temporary, { force: true });
    throw new WeightsError("ERR_WEIGHTS_IO", `the state of the checkpoints cannot be written`, { file, cause });
  }
}

/**
 * The newest checkpoint that a `ModelCheckpoint` of this file path has written, with what its state says of it; where
 * no state was kept, the file that fits the path and was changed last.
 *
 * ```ts
 * const latest = await latestCheckpoint("run/{epoch:02d}.weights.h5");
 * if (latest) await model.loadWeights(latest.path);
 * ```
 *
 * For a folder, it is what TensorFlow's file `checkpoint` in it names, as for `tf.train.latest_checkpoint`.
 *
 * @param filepath The path with its fields, as the callback has it, or a folder.
 * @returns undefined when there is none.
 * @throws ERR_WEIGHTS_CORRUPT when the state is damaged.
 */
export async function latestCheckpoint(
  filepath: string,
  options: { readonly stateFile?: string } = {},
): Promise<LatestCheckpoint | undefined> {
  if (await isFolder(filepath)) {
    const prefix = await latestPrefix(filepath);
    return prefix === undefined ? undefined : { path: prefix };
  }
  const state = await readState(options.stateFile ?? stateFile(filepath));
  const best = state?.best === undefined ? {} : { best: state.best };
  for (const saved of (state?.saved ?? []).toReversed()) {
    if (!(await checkpointExists(saved.path))) continue;
    const { path, epoch, batch } = saved;
    return batch === undefined
      ? { path, initialEpoch: epoch + 1, ...best }
      : { path, initialEpoch: epoch, batch, ...best };
  }
  const path = await newestMatch(filepath);
  return path === undefined ? undefined : { path };
}
