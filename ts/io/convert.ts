import { modelFromConfig } from "../config/read.ts";
import type { Flavor } from "../model/flavor.ts";
import { Layer } from "../model/layer.ts";
import { isModel } from "../model/model.ts";
import { describe } from "../model/tree.ts";
import { saveTarget } from "../model/unknown.ts";
import { calling, type NativeFile, type NativeJob } from "../native.ts";
import { done, finished, onlyKnown, type JobOptions } from "./job.ts";
import type { LoadReport } from "./load.ts";
import { modelInside } from "./load_model.ts";
import { ask, askSync, mayReplace, mustAsk, replacedBy, type Overwrite, type OverwriteSync } from "./overwrite.ts";
import { isWhole, wholeTexts } from "./save_model.ts";
import type { WholeTexts } from "./save.ts";
import { pathOf, readOptions, splitSource, type Limits, type Source } from "./source.ts";

/** How to convert, without waiting. */
export interface ConvertSyncOptions {
  /**
   * The model, or its config (`model.to_json()`, `config.json` of a `.keras` archive). Says what belongs where from and to
   * layouts that need it: the legacy one, `.keras`, and checkpoints that TensorFlow shall restore into a model. Without it, an
   * input that holds a whole model says it, and names are kept as they are where neither does.
   */
  readonly config?: Layer | object | string | undefined;
  /** Whose rules hold for a config that does not say it. */
  readonly flavor?: Flavor | undefined;
  /** Makes all floating-point tensors (not float8) this dtype, rounding to the nearest, ties to even. */
  readonly dtype?: "float16" | "bfloat16" | "float32" | "float64" | undefined;
  /** One of our names of formats. Default: what the suffix of the output says. */
  readonly saveFormat?: string | undefined;
  /**
   * Whether an `.h5` or `model.json` is to hold a whole model. Default: whether the input does, or `config` is given for a
   * `model.json`. A `.keras` archive always does.
   */
  readonly whole?: boolean | undefined;
  /** Whether the state of the optimizer goes where the new format has a place for it. Default true. */
  readonly includeOptimizer?: boolean | undefined;
  /** Formats of several files: the largest of them in GiB, Keras' unit. */
  readonly maxShardSize?: number | undefined;
  /** The same in bytes; counts when both are given. */
  readonly maxShardBytes?: number | undefined;
  /** safetensors: texts for the file's metadata, beside those of the input. */
  readonly metadata?: Readonly<Record<string, string>> | undefined;
  readonly limits?: Limits | undefined;
  /** What happens to an output that exists. Default true, as for saves. */
  readonly overwrite?: OverwriteSync | undefined;
}

/** How to convert. */
export interface ConvertOptions extends Omit<ConvertSyncOptions, "overwrite">, JobOptions {
  /** What happens to an output that exists. Default true, as for saves. */
  readonly overwrite?: Overwrite | undefined;
}

/** What a conversion wrote, and what it could not keep. */
export interface ConvertReport {
  /** Format of the output. */
  readonly format: string;
  /** Format of the input. */
  readonly from: string;
  readonly path: string;
  readonly tensors: number;
  /** Bytes of all tensors. */
  readonly tensorBytes: number;
  /** What of the input is not in the output (tensors, optimizers, files of layers): the reason of each, by path. */
  readonly leftOut: Readonly<Record<string, string>>;
  /** Attributes that the new format has no place for, as `group@name`. */
  readonly dropped: readonly string[];
  /** Tensors that have another dtype now: because it was asked for, or the model or the format wants it so. */
  readonly cast: LoadReport["cast"];
  /** Tensors in which finite values became infinite, with how many. */
  readonly overflowed: Readonly<Record<string, number>>;
}

const optionNames = [
  "config",
  "flavor",
  "dtype",
  "saveFormat",
  "whole",
  "includeOptimizer",
  "maxShardSize",
  "maxShardBytes",
  "metadata",
  "limits",
  "overwrite",
];

/** Containers that take any names, and those of object paths. */
const flat = /\.(?:safetensors|npz|safetensors\.index\.json)$/u;
const objectPaths = /\.weights\.(?:h5|json)$/u;

/** Whether a model in an input of `format` is of use for the output. */
function wantsModel(format: string, output: string, saveFormat: string | undefined): boolean {
  if (saveFormat === undefined ? flat.test(output) : /^(?:safetensors|npz)$/u.test(saveFormat)) return false;
  const toPaths = saveFormat === undefined ? objectPaths.test(output) : /^(?:keras3_h5|sharded)$/u.test(saveFormat);
  return !toPaths || format === "legacy_h5" || format === "tfjs_layers";
}

/** What leads from the names of the input to those of the output. */
interface Guide {
  readonly model?: Layer | undefined;
  readonly texts: WholeTexts;
}

function guideOf(output: string, file: NativeFile | undefined, source: string, options: ConvertOptions): Guide {
  const { config, flavor, includeOptimizer = true, saveFormat, whole } = options;
  if (config !== undefined) {
    const model = config instanceof Layer ? config : modelFromConfig(config, flavor === undefined ? {} : { flavor });
    return withTexts(model, output, options, false);
  }
  if (file === undefined || !wantsModel(file.format(), output, saveFormat)) return { texts: {} };
  // A file of the same layout is copied as it is, name by name.
  if (file.format() === "legacy_h5" && whole !== false && isLegacy(output, saveFormat)) return { texts: {} };
  const model = modelInside(file, source, { compile: includeOptimizer });
  return model === undefined ? { texts: {} } : withTexts(model, output, options, true);
}

function isLegacy(output: string, saveFormat: string | undefined): boolean {
  if (saveFormat !== undefined) return /^(?:h5|hdf5|legacy_h5)$/u.test(saveFormat);
  return /(?<!\.weights)\.h5$|\.hdf5$/u.test(output);
}

function withTexts(model: Layer, output: string, options: ConvertOptions, whole: boolean): Guide {
  const { saveFormat, includeOptimizer } = options;
  if (!isModel(model) || !isWhole(output, saveFormat, options.whole, whole)) return { model, texts: {} };
  return { model, texts: wholeTexts(model, output, { saveFormat, includeOptimizer }) };
}

function begin(input: Source, output: string, replace: boolean, guide: Guide, options: ConvertOptions): NativeJob {
  const { dtype, maxShardSize, maxShardBytes, includeOptimizer, metadata, limits } = options;
  const { model, texts } = guide;
  // The state of the optimizer is in the input, so that it counts whether or not the model was trained here.
  const tree = model && JSON.stringify(describe(model).tree);
  if (model !== undefined) saveTarget(model).check?.(isLegacy(output, options.saveFormat) ? "legacy_h5" : "paths");
  const saveFormat = options.saveFormat === "keras" && model !== undefined ? "archive" : options.saveFormat;
  const contents = { saveFormat, maxShardSize, maxShardBytes, includeOptimizer, metadata, overwrite: replace };
  const [path, bytes] = splitSource(input);
  return calling((addon) =>
    addon.convertWeights(
      path,
      bytes,
      output,
      tree,
      dtype,
      JSON.stringify({ ...contents, ...texts }),
      readOptions({ limits }),
    ),
  );
}

function opening(input: Source, options: ConvertOptions): NativeJob {
  const [path, bytes] = splitSource(input);
  return calling((addon) => addon.openFile(path, bytes, readOptions({ limits: options.limits, verify: "off" })));
}

const takeFile = (job: NativeJob): NativeFile => calling((addon) => addon.takeFile(job));
const nameOf = (input: Source): string => (input instanceof Uint8Array ? "the given bytes" : String(input));

function report(job: NativeJob): ConvertReport {
  return JSON.parse(calling((addon) => addon.takeReport(job))) as ConvertReport;
}

/**
 * Writes the weights of one file as another: between any two formats, tensor after tensor. The input's digests are
 * compared on the way. Memory does not grow with the file: values go through in pieces of a mebibyte, and a tensor that has to
 * be decoded (compressed chunks, deflated members) is held whole.
 *
 * ```ts
 * await convert("model.keras", "model.h5"); // a whole model, with its optimizer
 * await convert("model.h5", "weights.safetensors", { dtype: "bfloat16", maxShardSize: 2 });
 * await convert("checkpoint", "model.weights.h5", { config: await readFile("config.json", "utf8") });
 * ```
 *
 * @throws ERR_WEIGHTS_FORMAT when names cannot be kept without a config; ERR_WEIGHTS_EXISTS; what opening, loading and
 * saving throw.
 */
export async function convert(
  input: Source,
  output: string | URL,
  options: ConvertOptions = {},
): Promise<ConvertReport> {
  onlyKnown(options, [...optionNames, "signal", "onProgress"]);
  const { signal, overwrite = true } = options;
  signal?.throwIfAborted();
  const path = pathOf(output);
  let replace = mayReplace(overwrite);
  const replaced = replacedBy(path, options);
  if (mustAsk(replaced, overwrite)) replace = await ask(replaced, overwrite, signal);
  let file: NativeFile | undefined;
  if (options.config === undefined) file = await finished(opening(input, options), { signal }, takeFile);
  try {
    const guide = guideOf(path, file, nameOf(input), options);
    return await finished(begin(input, path, replace, guide, options), options, report);
  } finally {
    file?.close();
  }
}

/** {@link convert}, here and now. */
export function convertSync(input: Source, output: string | URL, options: ConvertSyncOptions = {}): ConvertReport {
  onlyKnown(options, optionNames);
  const { overwrite = true } = options;
  const path = pathOf(output);
  let replace = mayReplace(overwrite);
  const replaced = replacedBy(path, options);
  if (mustAsk(replaced, overwrite)) replace = askSync(replaced, overwrite);
  const file = options.config === undefined ? done(opening(input, options), takeFile) : undefined;
  try {
    return done(begin(input, path, replace, guideOf(path, file, nameOf(input), options), options), report);
  } finally {
    file?.close();
  }
}
