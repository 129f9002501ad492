import { viewOf, type DType, type RawArray } from "../dtype.ts";
import { WeightsError, type WeightsErrorCode, type WeightsErrorDetail } from "../errors.ts";
import { watched } from "../mapped.ts";
import { calling, type NativeFile, type NativeJob } from "../native.ts";
import { meantOptions, type CheckpointOptions } from "./checkpoint_options.ts";
import { argumentError, done, finished, onlyKnown, type JobOptions } from "./job.ts";
import { readOptionNames, readOptions, splitSource, type ReadOptions, type Source } from "./source.ts";
import type { HeldVariable, Target } from "./target.ts";
import { warn, type WeightsWarning } from "./warning.ts";

/** How to match a file with a model, and who is told of what does not fit. `verify` is `"load"` unless given. */
export interface LoadSyncOptions extends ReadOptions {
  /** Leave out layers that do not fit, with a warning for each, as Keras does. Default false. */
  readonly skipMismatch?: boolean | undefined;
  /** Legacy HDF5: match layers by name, not by order. It is an error when nothing matches. Default false. */
  readonly byName?: boolean | undefined;
  /** TensorFlow checkpoints: convert values of another dtype, which TensorFlow itself refuses. Default false. */
  readonly cast?: boolean | undefined;
  /** TensorFlow checkpoints: the fields of `tf.train.CheckpointOptions`. */
  readonly options?: CheckpointOptions | undefined;
  /** Layers that keep their values, with all that is inside (files with object paths). */
  readonly objectsToSkip?: readonly object[] | undefined;
  /** Is told each warning; without it they go to `process.emitWarning`. */
  readonly onWarning?: ((warning: WeightsWarning) => void) | undefined;
}

/** {@link LoadSyncOptions}, an abort signal, and progress. */
export interface LoadOptions extends LoadSyncOptions, JobOptions {}

/** A layer that was left out. */
export interface SkippedLayer {
  /** Name of the layer in the model. */
  readonly layer: string;
  /** The code that a load without `skipMismatch` fails with. */
  readonly reason: WeightsErrorCode;
  readonly weight?: string;
  readonly expected?: WeightsErrorDetail;
  readonly found?: WeightsErrorDetail;
  /** The whole sentence. */
  readonly message: string;
}

/** What a load did. */
export interface LoadReport {
  /** Format of the file: `keras3_h5`, `legacy_h5`, `tf_checkpoint`. */
  readonly format: string;
  /** Paths of the weights that got a value. */
  readonly loaded: readonly string[];
  /** Layers that did not fit. */
  readonly skipped: readonly SkippedLayer[];
  /** Paths of weights that the file has no value for. */
  readonly missing: readonly string[];
  /** Tensors of the file that no weight takes. */
  readonly unexpected: readonly string[];
  /** Weights whose values changed their dtype. */
  readonly cast: readonly { readonly weight: string; readonly from: string; readonly to: string }[];
  /** What should be known of the file, such as a suffix that disagrees with its content. */
  readonly note?: string;
}

const optionNames = [...readOptionNames, "skipMismatch", "byName", "cast", "options", "objectsToSkip", "onWarning"];

/** Load options in the form that the addon takes. */
function matchOptions(target: Target, options: LoadSyncOptions): string {
  const objectsToSkip = (options.objectsToSkip ?? []).map((object) => {
    const node = target.nodes.indexOf(object);
    if (node === -1) throw argumentError("objectsToSkip names a layer that is not in this model");
    return node;
  });
  const { skipMismatch, byName, cast } = options;
  const { skipSlotVariables, warnings } = meantOptions(options.options);
  warn(warnings, options.onWarning);
  return JSON.stringify({ skipMismatch, byName, cast, objectsToSkip, skipSlotVariables });
}

function begin(target: Target, source: Source, options: LoadSyncOptions): NativeJob {
  const [path, bytes] = splitSource(source);
  const [tree, match] = [JSON.stringify(target.tree), matchOptions(target, options)];
  return calling((addon) => addon.loadWeights(tree, path, bytes, match, readOptions(options)));
}

/** What the addon brought. */
interface Loaded {
  readonly report: string;
  readonly warnings: string;
  readonly variables: readonly number[];
  readonly buffers: readonly ArrayBuffer[];
  readonly places: readonly number[];
}

function take(job: NativeJob): Loaded {
  const loaded = calling((addon) => addon.takeLoad(job));
  for (const buffer of loaded.buffers) watched(buffer);
  return loaded;
}

/** Formats in which a layer saves what it wants to: there a merged kernel stands for kernel and update. */
const objectFormats = new Set(["keras3_h5", "keras", "sharded"]);

/** Puts all values in place: everything that can fail comes before the first change. */
function apply(target: Target, versions: readonly number[], loaded: Loaded, options: LoadSyncOptions): LoadReport {
  const values = loaded.variables.map((number, k): [HeldVariable, RawArray] => {
    const variable = target.variables[number];
    if (variable === undefined) throw new WeightsError("ERR_WEIGHTS_INTERNAL", `there is no variable ${number}`);
    if (variable.version !== versions[number]) {
      throw new WeightsError(
        "ERR_WEIGHTS_CHANGED",
        `${variable.path} was changed while the weights were being loaded; nothing was put in place`,
        { weight: variable.path },
      );
    }
    const [region = -1, offset = 0, byteLength = 0] = loaded.places.slice(3 * k, 3 * k + 3);
    const raw = viewOf<DType>(variable.dtype, loaded.buffers[region] ?? new ArrayBuffer(0), offset, byteLength);
    return [variable, raw];
  });
  const report = JSON.parse(loaded.report) as LoadReport;
  const warnings = JSON.parse(loaded.warnings) as WeightsWarning[];
  for (const [variable, raw] of values) variable.replace(raw);
  if (objectFormats.has(report.format)) {
    const placed = new Set(values.map(([variable]) => variable));
    for (const variable of target.variables) {
      if (variable.standsFor !== undefined && placed.has(variable.standsFor)) variable.loaded?.();
    }
  }
  warn(warnings, options.onWarning);
  return report;
}

/**
 * Loads weights into what a tree describes: all of them, or nothing and an error.
 *
 * Nothing changes before every value is in memory and was checked. What is loaded may lie in pages of the file (see
 * `access`).
 *
 * @throws ERR_WEIGHTS_UNBUILT, ERR_WEIGHTS_LAYER_COUNT, ERR_WEIGHTS_WEIGHT_COUNT, ERR_WEIGHTS_SHAPE, ERR_WEIGHTS_MISSING,
 * ERR_WEIGHTS_NO_MATCH where file and model differ; ERR_WEIGHTS_CHANGED when the model was changed meanwhile; what
 * opening throws.
 */
export async function loadInto(target: Target, source: Source, options: LoadOptions = {}): Promise<LoadReport> {
  onlyKnown(options, [...optionNames, "signal", "onProgress"]);
  options.signal?.throwIfAborted();
  const versions = target.variables.map(({ version }) => version);
  const job = begin(target, source, options);
  return apply(target, versions, await finished(job, options, take), options);
}

/** {@link loadInto}, here and now. */
export function loadIntoSync(target: Target, source: Source, options: LoadSyncOptions = {}): LoadReport {
  onlyKnown(options, optionNames);
  const versions = target.variables.map(({ version }) => version);
  return apply(target, versions, done(begin(target, source, options), take), options);
}

/** The load of an opened file into a model that was just made from it, with the optimizer where there is one. */
export interface WholeLoad {
  readonly job: NativeJob;
  /** Puts the values in place once the job is done. */
  readonly finish: (job: NativeJob) => LoadReport;
}

/** Begins to load everything that a whole-model file holds. */
export function beginWhole(target: Target, file: NativeFile, options: LoadSyncOptions): WholeLoad {
  const versions = target.variables.map(({ version }) => version);
  const match = JSON.stringify({ includeOptimizer: true });
  const job = calling(() => file.load(JSON.stringify(target.tree), match, readOptions(options)));
  return { job, finish: (done) => apply(target, versions, take(done), options) };
}
