import { modelFromConfig } from "../config/read.ts";
import type { Flavor } from "../model/flavor.ts";
import { Layer } from "../model/layer.ts";
import { describe } from "../model/tree.ts";
import { calling, type NativeJob } from "../native.ts";
import { argumentError, done, finished, onlyKnown, type JobOptions } from "./job.ts";
import { ask, askSync, mayReplace, mustAsk, type Overwrite, type OverwriteSync } from "./overwrite.ts";
import { pathOf, readOptions, splitSource, type Limits, type Source } from "./source.ts";

/** How to convert, without waiting. */
export interface ConvertSyncOptions {
  /**
   * The model, or its config (`model.to_json()`, `config.json` of a `.keras` archive). Needed from and to the legacy
   * layout, whose names are those of layers and weights. Without it, names are kept as they are.
   */
  readonly config?: Layer | object | string | undefined;
  /** Whose rules hold for a config that does not say it. */
  readonly flavor?: Flavor | undefined;
  /** Makes all floating-point tensors (not float8) this dtype, rounding to the nearest, ties to even. Not with `config`. */
  readonly dtype?: "float16" | "bfloat16" | "float32" | "float64" | undefined;
  /** One of our names of formats. Default: what the suffix of the output says. */
  readonly saveFormat?: string | undefined;
  /** Sharded weights (`.weights.json`): the largest shard in GiB, Keras' unit. */
  readonly maxShardSize?: number | undefined;
  /** The same in bytes; counts when both are given. */
  readonly maxShardBytes?: number | undefined;
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
  /** Tensors that the new format cannot hold, or that no weight of the model takes: the reason of each, by path. */
  readonly leftOut: Readonly<Record<string, string>>;
  /** Attributes that the new format has no place for, as `group@name`. */
  readonly dropped: readonly string[];
  /** Tensors in which finite values became infinite, with how many. */
  readonly overflowed: Readonly<Record<string, number>>;
}

const optionNames = ["config", "flavor", "dtype", "saveFormat", "maxShardSize", "maxShardBytes", "limits", "overwrite"];

function begin(
  input: Source,
  output: string,
  replace: boolean,
  options: ConvertSyncOptions | ConvertOptions,
): NativeJob {
  const { config, flavor, dtype, saveFormat, maxShardSize, maxShardBytes, limits } = options;
  if (config !== undefined && dtype !== undefined) {
    throw argumentError("with a config the model says what dtype each weight has: leave one of config and dtype out");
  }
  const model =
    config === undefined || config instanceof Layer
      ? config
      : modelFromConfig(config, flavor === undefined ? {} : { flavor });
  const tree = model && JSON.stringify(describe(model).tree);
  const saveOptions = JSON.stringify({ saveFormat, maxShardSize, maxShardBytes, overwrite: replace });
  const [path, bytes] = splitSource(input);
  return calling((addon) =>
    addon.convertWeights(path, bytes, output, tree, dtype, saveOptions, readOptions({ limits })),
  );
}

function report(job: NativeJob): ConvertReport {
  return JSON.parse(calling((addon) => addon.takeReport(job))) as ConvertReport;
}

/**
 * Writes the weights of one file as another: between any two formats, tensor after tensor. The input's digests are
 * compared on the way.
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
  if (mustAsk(path, overwrite)) replace = await ask(path, overwrite, signal);
  return finished(begin(input, path, replace, options), options, report);
}

/** {@link convert}, here and now. */
export function convertSync(input: Source, output: string | URL, options: ConvertSyncOptions = {}): ConvertReport {
  onlyKnown(options, optionNames);
  const { overwrite = true } = options;
  const path = pathOf(output);
  let replace = mayReplace(overwrite);
  if (mustAsk(path, overwrite)) replace = askSync(path, overwrite);
  return done(begin(input, path, replace, options), report);
}
