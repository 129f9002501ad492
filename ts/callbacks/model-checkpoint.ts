import { mkdir, stat } from "node:fs/promises";
import { dirname } from "node:path";

import { WeightsError } from "../errors.ts";
import { removeCheckpoint, stateFile } from "./checkpoint-pattern.ts";
import {
  latestCheckpoint,
  readState,
  writeState,
  type LatestCheckpoint,
  type SavedCheckpoint,
} from "./checkpoint-state.ts";
import { directionByMetrics, directionByName, isBetter, type MetricLike, type MonitorMode } from "./monitor.ts";
import { fillTemplate, parseTemplate, type PythonValue, type TemplatePart } from "./python-format.ts";
import { formatValue } from "./python-numbers.ts";

/** What a checkpoint callback needs of a model; every model of this package has it. */
export interface CheckpointModel {
  saveWeights(path: string, options: { readonly overwrite: true; readonly saveFormat?: string }): Promise<unknown>;
  /** Needed unless only weights are saved. */
  save?(path: string, options: { readonly overwrite: true }): Promise<unknown>;
  /** Needed by {@link ModelCheckpoint.restore}. */
  loadWeights?(path: string): Promise<unknown>;
  /** Whose behaviour to follow; default keras3. */
  readonly flavor?: "keras2" | "keras3";
  /** Metrics it was compiled with. */
  readonly metrics?: readonly (string | MetricLike)[];
}

/** What training tells a callback: numbers by name; anything else can be logged too, but not watched. */
export type Logs = Readonly<Record<string, unknown>>;

/** A warning of a callback. */
export interface CallbackWarning {
  readonly code: "KERAS_WEIGHTS_CHECKPOINT";
  readonly message: string;
}

/** Options of a {@link ModelCheckpoint}: Keras' arguments, and a few of ours. */
export interface ModelCheckpointOptions {
  /** The model; or call `setModel` before training. */
  readonly model?: CheckpointModel;
  /** Name of the value to watch. Default `val_loss`. */
  readonly monitor?: string;
  /** 1 prints Keras' messages. Default 0. */
  readonly verbose?: 0 | 1;
  /** Save only when the watched value is better than ever before. Default false. */
  readonly saveBestOnly?: boolean;
  /** Call `saveWeights` instead of `save`. Default false. */
  readonly saveWeightsOnly?: boolean;
  /** Which values are better. Default `auto`. */
  readonly mode?: MonitorMode;
  /** `epoch`, or a number of batches. Default `epoch`. */
  readonly saveFreq?: "epoch" | number;
  /** The value to beat from the start. */
  readonly initialValueThreshold?: number;
  /** Keras 2 only: epochs between two saves. Default 1. */
  readonly period?: number;
  /** Whose rules to follow; default: the model's, else keras3. */
  readonly flavor?: "keras2" | "keras3";
  /** Metrics that say which direction is better (Keras 3 asks them); default: the model's. */
  readonly metrics?: readonly (string | MetricLike)[];
  /** Passed on to `saveWeights`; then the file path may have any suffix. */
  readonly saveFormat?: string;
  /** Keep only so many of the checkpoints written, the newest; older ones are removed after each save. */
  readonly keep?: number;
  /** Keep a small JSON file for {@link ModelCheckpoint.restore}, here or, with true, beside the checkpoints. Default: with `keep`. */
  readonly state?: boolean | string;
  /** Where messages go; default standard output. */
  readonly onMessage?: (message: string) => void;
  /** Where warnings go; default `process.emitWarning`. */
  readonly onWarning?: (warning: CallbackWarning) => void;
}

/**
 * Saves a model while it is trained, as Keras' callback of that name does: same file names, same choices, same
 * messages, for both flavours.
 *
 * ```ts
 * const checkpoint = new ModelCheckpoint("run/{epoch:02d}-{val_loss:.2f}.weights.h5", {
 *   model, saveWeightsOnly: true, saveBestOnly: true, keep: 3,
 * });
 * for (let epoch = 0; epoch < 10; epoch += 1) {
 *   await checkpoint.onEpochBegin(epoch);
 *   const logs = await trainOneEpoch(model);
 *   await checkpoint.onEpochEnd(epoch, logs);
 * }
 * ```
 *
 * Saves never overlap: a call made while another is being saved waits for it. Await each call before the weights
 * change again.
 */
export class ModelCheckpoint {
  /** The path with its fields. */
  readonly filepath: string;
  /** Name of the value that is watched. */
  readonly monitor: string;
  readonly #options: ModelCheckpointOptions;
  readonly #template: TemplatePart[];
  readonly #saveFreq: "epoch" | number;
  readonly #state: string | undefined;
  #model: CheckpointModel | undefined;
  #flavor: "keras2" | "keras3" | undefined;
  #mode: MonitorMode;
  #direction: "min" | "max" | undefined;
  #best: number | undefined;
  #epoch = 0;
  #lastBatch = -1;
  #batchesSinceSave = 0;
  #epochsSinceSave = 0;
  #saved: SavedCheckpoint[] | undefined;
  #queue: Promise<unknown> = Promise.resolve();

  /**
   * @param filepath Where to save. Fields of Python's `str.format` are filled in: `{epoch}` and `{batch}` count from 1,
   *   others are names of the logs.
   * @throws ERR_WEIGHTS_ARGUMENT for a wrong option or template, ERR_WEIGHTS_FORMAT for a suffix that Keras refuses
   *   (without model and flavour: when the model is set).
   */
  constructor(filepath: string, options: ModelCheckpointOptions = {}) {
    this.filepath = filepath;
    this.monitor = options.monitor ?? "val_loss";
    this.#options = options;
    this.#template = parseTemplate(filepath);
    this.#best = options.initialValueThreshold;
    this.#mode = this.#checkedMode(options.mode ?? "auto");
    this.#saveFreq = checkedFrequency(options.saveFreq ?? "epoch");
    const { keep, state = keep !== undefined } = options;
    if (keep !== undefined && !(Number.isInteger(keep) && keep >= 1)) {
      throw new WeightsError("ERR_WEIGHTS_ARGUMENT", `keep must be a whole number of 1 or more`, {
        found: String(keep),
      });
    }
    this.#state = state === true ? stateFile(filepath) : state === false ? undefined : state;
    const flavor = options.flavor ?? options.model?.flavor;
    if (options.model !== undefined || flavor !== undefined) this.#settle(flavor ?? "keras3");
    this.#model = options.model;
  }

  /** The best value so far; undefined (Keras 3) or infinite (Keras 2) before the first. */
  get best(): number | undefined {
    return this.#best;
  }

  /** Says which model to save. */
  setModel(model: CheckpointModel): void {
    this.#settle(this.#options.flavor ?? model.flavor ?? "keras3");
    this.#model = model;
  }

  /** Of no effect; Keras has it. */
  async onTrainBegin(): Promise<void> {
    // Nothing is to be done before the first batch.
  }

  /** Resolves when all saves are done. */
  async onTrainEnd(): Promise<void> {
    await this.#queue;
  }

  /** Notes the epoch. */
  async onEpochBegin(epoch: number): Promise<void> {
    this.#epoch = epoch;
  }

  /** Saves, if this is the time for it. */
  async onTrainBatchEnd(batch: number, logs?: Logs | null): Promise<void> {
    if (!this.#isTimeToSave(batch)) return;
    const epoch = this.#epoch;
    await this.#inTurn(() => this.#saveModel(epoch, batch, { ...logs }));
  }

  /** Saves, if this is the time for it. */
  async onEpochEnd(epoch: number, logs?: Logs | null): Promise<void> {
    this.#epochsSinceSave += 1;
    await this.#inTurn(async () => {
      if (this.#settled() === "keras3") this.#directionNow();
      if (this.#saveFreq !== "epoch") return;
      if (this.#settled() === "keras2" && this.#epochsSinceSave < (this.#options.period ?? 1)) return;
      this.#epochsSinceSave = 0;
      await this.#saveModel(epoch, undefined, { ...logs });
    });
  }

  /**
   * Goes on where an interrupted training stopped: loads the newest checkpoint into the model and takes over its best
   * value.
   *
   * @returns What was found, with the `initialEpoch` to go on with if a state was kept; undefined if there is none.
   * @throws ERR_WEIGHTS_ARGUMENT without a model that can load, and all errors of `loadWeights`.
   */
  async restore(): Promise<LatestCheckpoint | undefined> {
    const load = this.#model?.loadWeights?.bind(this.#model);
    if (load === undefined) {
      throw new WeightsError("ERR_WEIGHTS_ARGUMENT", `restore() needs a model that has loadWeights`);
    }
    return this.#inTurn(async () => {
      const file = this.#state;
      const latest = await latestCheckpoint(this.filepath, file === undefined ? {} : { stateFile: file });
      if (latest === undefined) return undefined;
      await load(latest.path);
      if (latest.best !== undefined) this.#best = latest.best;
      return latest;
    });
  }

  #settled(): "keras2" | "keras3" {
    return this.#flavor ?? "keras3";
  }

  /** What can only be checked, or begun with, when the flavour is known. */
  #settle(flavor: "keras2" | "keras3"): void {
    if (this.#flavor === flavor) return;
    if (flavor === "keras3") {
      this.#checkSuffix();
    } else {
      this.#direction = this.#mode === "auto" ? directionByName(this.monitor) : this.#mode;
      this.#best ??= this.#direction === "min" ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY;
    }
    this.#flavor = flavor;
  }

  #checkSuffix(): void {
    const { saveWeightsOnly = false, saveFormat } = this.#options;
    const allowed = saveWeightsOnly ? [".weights.h5"] : [".keras", ".h5"];
    if (saveFormat !== undefined || allowed.some((suffix) => this.filepath.endsWith(suffix))) return;
    throw new WeightsError(
      "ERR_WEIGHTS_FORMAT",
      saveWeightsOnly
        ? `with saveWeightsOnly, Keras 3 wants a file path that ends in ".weights.h5" (saveFormat allows others)`
        : `Keras 3 wants a file path that ends in ".keras" or ".h5" for a whole model`,
      { file: this.filepath, expected: allowed.join(", ") },
    );
  }

  #checkedMode(mode: string): MonitorMode {
    if (mode === "auto" || mode === "min" || mode === "max") return mode;
    this.#warn(`ModelCheckpoint mode '${mode}' is unknown, fallback to auto mode.`);
    return "auto";
  }

  #warn(message: string): void {
    const code = "KERAS_WEIGHTS_CHECKPOINT";
    if (this.#options.onWarning !== undefined) this.#options.onWarning({ code, message });
    else process.emitWarning(message, { type: "WeightsWarning", code });
  }

  #say(message: string): void {
    if (this.#options.verbose !== 1) return;
    if (this.#options.onMessage !== undefined) this.#options.onMessage(message);
    else process.stdout.write(`${message}\n`);
  }

  /** One after the other, in the order of the calls; a failure is its caller's alone. */
  #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const run = this.#queue.then(work);
    this.#queue = run.catch(() => undefined);
    return run;
  }

  /** Counts batches over epochs: batch numbers may advance by more than one, and start anew with each epoch. */
  #isTimeToSave(batch: number): boolean {
    if (this.#saveFreq === "epoch") return false;
    this.#batchesSinceSave += batch <= this.#lastBatch ? batch + 1 : batch - this.#lastBatch;
    this.#lastBatch = batch;
    if (this.#batchesSinceSave < this.#saveFreq) return false;
    this.#batchesSinceSave = 0;
    return true;
  }

  #directionNow(): "min" | "max" {
    if (this.#direction !== undefined) return this.#direction;
    const metrics = this.#options.metrics ?? this.#model?.metrics ?? [];
    this.#direction = this.#mode === "auto" ? directionByMetrics("ModelCheckpoint", this.monitor, metrics) : this.#mode;
    return this.#direction;
  }

  async #saveModel(epoch: number, batch: number | undefined, logs: Logs): Promise<void> {
    const path = this.#path(epoch, batch, logs);
    // Keras 2 makes the folder even if nothing is saved then.
    if (this.#settled() === "keras2") await makeFolder(path);
    if (!this.#wants(epoch, logs, path)) return;
    await makeFolder(path);
    await this.#write(path);
    if (this.#settled() === "keras3") this.#say(`\nEpoch ${epoch + 1}: finished saving model to ${path}`);
    const value = logs[this.monitor];
    await this.#remember({
      path,
      epoch,
      ...(batch === undefined ? {} : { batch }),
      ...(typeof value === "number" ? { value } : {}),
    });
  }

  #path(epoch: number, batch: number | undefined, logs: Logs): string {
    const values = new Map(Object.entries(logs).map(([name, value]) => [name, pythonValue(value)]));
    values.set("epoch", { kind: "int", value: BigInt(epoch + 1) });
    if (batch !== undefined && !values.has("batch")) values.set("batch", { kind: "int", value: BigInt(batch + 1) });
    return fillTemplate(this.#template, values, (name) => {
      throw new WeightsError(
        "ERR_WEIGHTS_ARGUMENT",
        `the file path "${this.filepath}" asks for "${name}", which is not in the logs`,
        { expected: name, found: [...values.keys()].join(", ") },
      );
    });
  }

  /** Whether to save now; notes a new best value and says so. */
  #wants(epoch: number, logs: Logs, path: string): boolean {
    if (this.#options.saveBestOnly !== true) {
      this.#say(`\nEpoch ${epoch + 1}: saving model to ${path}`);
      return true;
    }
    const keras2 = this.#settled() === "keras2";
    const current = logs[this.monitor];
    if (current === undefined || current === null) {
      this.#warn(`Can save best model only with ${this.monitor} available${keras2 ? ", skipping." : "."}`);
      return !keras2;
    }
    if (typeof current !== "number") return this.#wantsUnwatchable(current);
    const best = this.#best;
    if (best !== undefined && !isBetter(current, best, this.#directionNow())) {
      this.#say(`\nEpoch ${epoch + 1}: ${this.monitor} did not improve from ${shown(best)}`);
      return false;
    }
    this.#say(
      `\nEpoch ${epoch + 1}: ${this.monitor} improved from ${shown(best)} to ${shown(current)}, saving model to ${path}`,
    );
    this.#best = current;
    return true;
  }

  #wantsUnwatchable(current: unknown): boolean {
    if (this.#settled() === "keras2") {
      throw new WeightsError(
        "ERR_WEIGHTS_ARGUMENT",
        `"${this.monitor}" is not one number, so no best one can be told`,
        {
          found: typeof current,
        },
      );
    }
    const text =
      Array.isArray(current) || ArrayBuffer.isView(current) ? `[${Object.values(current).join(", ")}]` : typeof current;
    this.#warn(
      `Can save best model only when \`monitor\` is a scalar value. Received: ${text}. Falling back to \`save_best_only=False\`.`,
    );
    return true;
  }

  async #write(path: string): Promise<void> {
    const model = this.#model;
    if (model === undefined) {
      throw new WeightsError("ERR_WEIGHTS_ARGUMENT", `ModelCheckpoint has no model: pass one, or call setModel`);
    }
    if (await isFolder(path)) {
      throw new WeightsError("ERR_WEIGHTS_IO", `a checkpoint cannot be saved to an existing folder`, { file: path });
    }
    const { saveWeightsOnly = false, saveFormat } = this.#options;
    if (saveWeightsOnly) {
      await model.saveWeights(path, { overwrite: true, ...(saveFormat === undefined ? {} : { saveFormat }) });
    } else if (model.save === undefined) {
      throw new WeightsError("ERR_WEIGHTS_ARGUMENT", `this model cannot be saved whole: pass saveWeightsOnly: true`);
    } else {
      await model.save(path, { overwrite: true });
    }
  }

  /** The new checkpoint and the state that names it are complete before an old one goes. */
  async #remember(entry: SavedCheckpoint): Promise<void> {
    const file = this.#state;
    if (file === undefined && this.#options.keep === undefined) return;
    this.#saved ??= file === undefined ? [] : [...((await readState(file))?.saved ?? [])];
    const all = [...this.#saved.filter(({ path }) => path !== entry.path), entry];
    const kept = all.slice(-(this.#options.keep ?? all.length));
    this.#saved = kept;
    if (file !== undefined) await writeState(file, { saved: kept, best: this.#best });
    for (const old of all.slice(0, all.length - kept.length)) await removeCheckpoint(old.path);
  }
}

function checkedFrequency(frequency: "epoch" | number): "epoch" | number {
  if (frequency === "epoch" || Number.isInteger(frequency)) return frequency;
  throw new WeightsError("ERR_WEIGHTS_ARGUMENT", `saveFreq must be "epoch" or a whole number of batches`, {
    found: String(frequency),
  });
}

/** Logged numbers are floats in Keras, and print as such: 1 is "1.0". */
function pythonValue(value: unknown): PythonValue {
  if (typeof value === "number") return { kind: "float", value };
  if (typeof value === "bigint") return { kind: "int", value };
  return { kind: "str", value: String(value) };
}

function shown(value: number | undefined): string {
  return value === undefined ? "None" : formatValue({ kind: "float", value }, ".5f");
}

async function makeFolder(path: string): Promise<void> {
  try {
    await mkdir(dirname(path), { recursive: true });
  } catch (cause) {
    throw new WeightsError("ERR_WEIGHTS_IO", `the folder of the checkpoint cannot be made`, { file: path, cause });
  }
}

async function isFolder(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isDirectory();
  } catch {
    return false;
  }
}
