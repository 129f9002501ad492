import { setImmediate } from "node:timers/promises";

import type { RawArray } from "../dtype.ts";
import { isWeightsError, WeightsError } from "../errors.ts";
import { calling, type NativeJob, type NativeSave } from "../native.ts";
import type { Asset } from "./assets.ts";
import { meantOptions, type CheckpointOptions } from "./checkpoint_options.ts";
import { argumentError, finished, onlyKnown, watch, type JobOptions } from "./job.ts";
import { ask, askSync, mayReplace, mustAsk, replacedBy, type Overwrite, type OverwriteSync } from "./overwrite.ts";
import { pathOf } from "./source.ts";
import type { HeldVariable, Target } from "./target.ts";
import { warn, type WeightsWarning } from "./warning.ts";

/** What is written. */
export interface SaveContents {
  /** Keras' `save_format`, or one of our names: `"h5"`, `"tf"`, `"legacy_h5"`, `"keras3_h5"`. Default: what the suffix says; a
   * name without a known suffix is the prefix of a TensorFlow checkpoint. */
  readonly saveFormat?: string | undefined;
  /**
   * TensorFlow checkpoints: what the root is. `"save_weights"`: the model, as Keras 2 and `tf.train.Checkpoint(model)` have
   * it; `"checkpoint"`: an object that leads to the model, as with `tf.train.Checkpoint(model=model)`; `"universal"`: all of
   * these restore it. Default: `"save_weights"` for models of Keras 2, `"universal"` for those of Keras 3.
   */
  readonly tfLayout?: "save_weights" | "checkpoint" | "universal" | undefined;
  /** Whether the optimizer's state goes where the format has a place for it. Default true. */
  readonly includeOptimizer?: boolean | undefined;
  /**
   * The largest file in GiB, Keras' unit: of sharded weights (`.weights.json`), TensorFlow checkpoints, layers models of
   * TensorFlow.js (4 MiB by default), and safetensors, which get an index beside them (`model.safetensors.index.json`).
   */
  readonly maxShardSize?: number | undefined;
  /** The same in bytes; counts when both are given. */
  readonly maxShardBytes?: number | undefined;
  /**
   * HDF5 (`.h5`, `.weights.h5`): compresses tensors of 8 KiB and more as h5py's `compression="gzip"` does. `"gzip"` is level 4 with
   * shuffled bytes. Such tensors take less room and longer to load, and cannot be mapped. Default: no compression.
   */
  readonly compression?: "gzip" | { readonly level?: number; readonly shuffle?: boolean } | undefined;
  /** safetensors: texts for the file's metadata. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  /** TensorFlow checkpoints: the fields of `tf.train.CheckpointOptions`. */
  readonly options?: CheckpointOptions | undefined;
  /** Is told each warning; without it they go to `process.emitWarning`. */
  readonly onWarning?: ((warning: WeightsWarning) => void) | undefined;
}

/** How to save, without waiting. */
export interface SaveSyncOptions extends SaveContents {
  /** What happens to a file that exists. Default true, as in Keras. */
  readonly overwrite?: OverwriteSync | undefined;
}

/** How to save. */
export interface SaveOptions extends SaveContents, JobOptions {
  /** What happens to a file that exists. Default true, as in Keras. */
  readonly overwrite?: Overwrite | undefined;
  /**
   * Copy all values first, in one turn of the event loop: what happens to them later does not matter. Without it, a
   * change while saving is an error (ERR_WEIGHTS_CHANGED) where it can be detected. Default false.
   */
  readonly snapshot?: boolean | undefined;
}

/** What a save wrote. */
export interface SaveReport {
  /** Format of the file: `keras3_h5`, `legacy_h5`, `tf_checkpoint`. */
  readonly format: string;
  readonly path: string;
  /** Tensors in the file. */
  readonly tensors: number;
  /** Bytes of all tensors. */
  readonly tensorBytes: number;
  /** Present when the file existed and the answer was not to replace it: nothing was written. */
  readonly cancelled?: true;
}

/** Values of JavaScript's up to this many bytes together are copied at once, without any turns. */
const smallSave = 8 << 20;

const contentNames = [
  "saveFormat",
  "tfLayout",
  "includeOptimizer",
  "maxShardSize",
  "maxShardBytes",
  "compression",
  "metadata",
  "options",
  "onWarning",
  "overwrite",
];

/** One tensor of the file and where its values are now. */
interface Item {
  readonly tensor: number;
  readonly variable: HeldVariable;
  readonly raw: RawArray;
  readonly byteLength: number;
}

/** What makes a file one of a whole model: JSON texts. */
export interface WholeTexts {
  readonly modelConfig?: string;
  readonly trainingConfig?: string | undefined;
  /** Of archives. */
  readonly dateSaved?: string;
}

/** What a save of a whole model writes beside the weights. */
export interface Whole {
  readonly texts: WholeTexts;
  /** Of archives: files of layers. */
  readonly assets: readonly Asset[];
}

const weightsAlone: Whole = { texts: {}, assets: [] };

/** The compression in the form that the addon takes. */
function compressionOf(given: SaveContents["compression"]): { level: number; shuffle: boolean } | undefined {
  if (given === undefined) return undefined;
  const { level = 4, shuffle = true } = given === "gzip" ? {} : typeof given === "object" ? given : { level: 0 };
  if (Number.isInteger(level) && level >= 1 && level <= 9) return { level, shuffle };
  throw argumentError('compression is "gzip" or { level: 1 to 9, shuffle }');
}

function plan(target: Target, path: string, given: SaveOptions, { texts, assets }: Whole): NativeSave {
  const { saveFormat, tfLayout, includeOptimizer, maxShardSize, metadata, overwrite = true } = given;
  const meant = meantOptions(given.options);
  warn(meant.warnings, given.onWarning);
  const maxShardBytes = given.maxShardBytes ?? (maxShardSize === undefined ? meant.maxShardBytes : undefined);
  const contents: SaveContents = { saveFormat, tfLayout, includeOptimizer, maxShardSize, maxShardBytes, metadata };
  const compression = compressionOf(given.compression);
  const options = JSON.stringify({ ...contents, compression, overwrite: mayReplace(overwrite), ...texts });
  const [paths, bytes] = [assets.map((asset) => asset.path), assets.map((asset) => asset.bytes)];
  const save = calling((addon) => addon.planSave(JSON.stringify(target.tree), path, options, paths, bytes));
  try {
    target.check?.(save.format());
  } catch (error) {
    save.abort();
    throw error;
  }
  return save;
}

function cancelled(save: NativeSave, path: string): SaveReport {
  return { format: save.format(), path, tensors: 0, tensorBytes: 0, cancelled: true };
}

/** The values of every tensor, all taken in this turn. */
function capture(save: NativeSave, { variables }: Target): Item[] {
  return save.variables().map((number, tensor) => {
    const variable = variables[number];
    if (variable === undefined) throw new WeightsError("ERR_WEIGHTS_INTERNAL", `there is no variable ${number}`);
    const raw = variable.read();
    return { tensor, variable, raw, byteLength: raw.byteLength };
  });
}

function changed({ variable: { path } }: Item, what: string): WeightsError {
  return new WeightsError("ERR_WEIGHTS_CHANGED", `${path} was ${what} while being saved: nothing was written`, {
    weight: path,
  });
}

/** The bytes as they are now. The addon reads them before this turn ends, and checks their number. */
function bytesOf(item: Item): Uint8Array {
  const { raw, byteLength } = item;
  let bytes: Uint8Array;
  try {
    if (raw.byteLength !== byteLength) throw new RangeError("another length");
    bytes = new Uint8Array(raw.buffer, raw.byteOffset, byteLength);
  } catch {
    throw changed(item, "resized or transferred");
  }
  // Another thread may write to shared memory at any time: the addon only sees a copy.
  return raw.buffer instanceof SharedArrayBuffer ? bytes.slice() : bytes;
}

function isShared({ raw }: Item): boolean {
  return raw.buffer instanceof SharedArrayBuffer;
}

/** Says where all values are; what is left is JavaScript's own memory, to be brought in pieces. */
function offerAll(save: NativeSave, items: readonly Item[], snapshot: boolean): Item[] {
  const theirs = snapshot
    ? [...items]
    : items.filter((item) => isShared(item) || !calling(() => save.offer(item.tensor, bytesOf(item))));
  const bytes = theirs.reduce((sum, { byteLength }) => sum + byteLength, 0);
  const keepAll = snapshot || bytes <= smallSave;
  return theirs.filter((item) => {
    if (!keepAll && !isShared(item)) return true;
    calling(() => {
      save.keep(item.tensor, bytesOf(item));
    });
    return false;
  });
}

/** Digests what JavaScript holds, in turns short enough for the event loop. */
async function digestAll(save: NativeSave, items: readonly Item[], signal: AbortSignal | undefined): Promise<void> {
  for (const item of items) {
    for (let digested = -1; digested < item.byteLength;) {
      digested = calling(() => save.digest(item.tensor, bytesOf(item)));
      await setImmediate();
      signal?.throwIfAborted();
    }
  }
}

/** Brings what JavaScript holds while the addon writes. `beforeLast` is called before the save can become complete. */
async function feedAll(
  save: NativeSave,
  items: readonly Item[],
  job: NativeJob,
  beforeLast: () => void,
): Promise<void> {
  const last = items.at(-1);
  for (const item of items) {
    for (let offset = 0; offset < item.byteLength;) {
      if (job.finished) return;
      if (item === last) beforeLast();
      const fed = calling(() => save.feed(item.tensor, bytesOf(item), offset));
      offset += fed;
      await (fed === 0 ? save.room() : setImmediate());
    }
  }
}

async function write(
  save: NativeSave,
  theirs: readonly Item[],
  options: SaveOptions,
  check: () => void,
): Promise<SaveReport> {
  const { signal } = options;
  const job = calling(() => save.write());
  const running = calling(() => job.start());
  const stop = watch(job, options);
  const abort = (): void => {
    job.cancel();
    save.abort();
  };
  signal?.addEventListener("abort", abort, { once: true });
  if (signal?.aborted) abort();
  let failure: unknown;
  try {
    await feedAll(save, theirs, job, check);
  } catch (error) {
    failure = error;
    abort();
  }
  // Waited for also after an abort: once this promise is settled, nothing is written any more.
  await running;
  signal?.removeEventListener("abort", abort);
  stop();
  if (failure !== undefined) throw failure as Error;
  try {
    return JSON.parse(calling((addon) => addon.takeReport(job))) as SaveReport;
  } catch (error) {
    if (isWeightsError(error, "ERR_WEIGHTS_ABORTED")) signal?.throwIfAborted();
    throw error;
  }
}

/**
 * Saves the weights of what a tree describes. Whatever happens, the file is afterwards either the old one or the new
 * one, whole.
 *
 * @throws ERR_WEIGHTS_EXISTS when it may not be replaced, ERR_WEIGHTS_CHANGED when values changed meanwhile,
 * ERR_WEIGHTS_FORMAT for a name or `saveFormat` that cannot be written, ERR_WEIGHTS_UNBUILT, ERR_WEIGHTS_NOT_FOUND for a
 * missing folder, ERR_WEIGHTS_IO.
 */
export async function saveFrom(
  target: Target,
  destination: string | URL,
  options: SaveOptions = {},
  whole: Whole = weightsAlone,
): Promise<SaveReport> {
  onlyKnown(options, [...contentNames, "snapshot", "signal", "onProgress"]);
  const { signal, overwrite = true, snapshot = false } = options;
  signal?.throwIfAborted();
  const path = pathOf(destination);
  const save = plan(target, path, options, whole);
  try {
    const replaced = replacedBy(path, { ...options, saveFormat: save.format() });
    if (mustAsk(replaced, overwrite)) {
      if (!(await ask(replaced, overwrite, signal))) return cancelled(save, path);
      signal?.throwIfAborted();
    }
    // Unless somebody was asked, this is still the caller's turn: the values are those of the call.
    const items = capture(save, target);
    const versions = items.map(({ variable }) => variable.version);
    const theirs = offerAll(save, items, snapshot);
    const check = (): void => {
      if (snapshot) return;
      const torn = items.find(({ variable }, k) => variable.version !== versions[k]);
      if (torn !== undefined) throw changed(torn, "changed");
    };
    await digestAll(save, theirs, signal);
    await finished(
      calling(() => save.digestOurs()),
      { signal },
      (job) => calling((addon) => addon.takeReport(job)),
    );
    check();
    return await write(save, theirs, options, check);
  } finally {
    save.abort();
  }
}

/** {@link saveFrom}, here and now. */
export function saveFromSync(
  target: Target,
  destination: string | URL,
  options: SaveSyncOptions = {},
  whole: Whole = weightsAlone,
): SaveReport {
  onlyKnown(options, contentNames);
  const path = pathOf(destination);
  const save = plan(target, path, options, whole);
  const { overwrite = true } = options;
  const replaced = replacedBy(path, { ...options, saveFormat: save.format() });
  if (mustAsk(replaced, overwrite) && !askSync(replaced, overwrite)) return cancelled(save, path);
  const arrays = capture(save, target).map(bytesOf);
  return JSON.parse(calling(() => save.run(arrays))) as SaveReport;
}
