import { isObject, type JsonObject } from "../config/json.ts";
import { modelFromConfig } from "../config/read.ts";
import { fail } from "../model/failure.ts";
import { isLayer } from "../model/layer.ts";
import type { Model } from "../model/model.ts";
import { describe } from "../model/tree.ts";
import { adoptFrom } from "../model/unknown.ts";
import { calling, type NativeFile } from "../native.ts";
import { gruResetAfter } from "../tfjs/gru.ts";
import type { AdoptedVariable } from "../optimizers/optimizer.ts";
import type { DType } from "../tensor.ts";
import { Compilation } from "../training/compilation.ts";
import { beginAssets, takeAssets } from "./assets.ts";
import { done, finished, onlyKnown, type JobOptions } from "./job.ts";
import { beginWhole } from "./load.ts";
import { WeightsFile } from "./open.ts";
import { readOptionNames, readOptions, splitSource, type ReadOptions, type Source } from "./source.ts";
import type { WeightsWarning } from "./warning.ts";

/** How to load a whole model, without waiting. */
export interface LoadModelSyncOptions extends ReadOptions {
  /** Whether the model gets its optimizer, and what else it was compiled with. Default true. */
  readonly compile?: boolean | undefined;
  /** Is told each warning; without it they go to `process.emitWarning`. */
  readonly onWarning?: ((warning: WeightsWarning) => void) | undefined;
}

/** How to load a whole model. */
export interface LoadModelOptions extends LoadModelSyncOptions, JobOptions {}

const optionNames = [...readOptionNames, "compile", "onWarning"];

/** What a whole-model file says beside its weights, as JSON; null where it does not say it. */
export interface WholeModelTexts {
  readonly modelConfig: string | null;
  readonly trainingConfig: string | null;
  readonly kerasVersion: string | null;
}

/** The source in messages. */
function nameOf(source: Source): string {
  return source instanceof Uint8Array ? "the given bytes" : String(source);
}

/** The config in Keras' words: our class for TensorFlow.js is Keras' own GRU. */
function ofKeras(config: string, file: NativeFile): string {
  return file.format() === "tfjs_layers"
    ? config.replaceAll(`"class_name":"${gruResetAfter}"`, '"class_name":"GRU"')
    : config;
}

function parse(text: string, what: string, file: string): JsonObject {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    return fail("ERR_WEIGHTS_CONFIG", `the ${what} of ${file} is not JSON`, { file, cause });
  }
  return isObject(value) ? value : fail("ERR_WEIGHTS_CONFIG", `the ${what} of ${file} is no object`, { file });
}

/** The model that a file says that it holds, without its weights; undefined for a file of weights alone. */
export function modelInside(file: NativeFile, source: string, options: LoadModelSyncOptions): Model | undefined {
  const texts = JSON.parse(calling(() => file.wholeModel())) as WholeModelTexts;
  return texts.modelConfig === null ? undefined : makeModel(file, source, options);
}

/** Builds what the file says that it holds; its weights come after that. */
function makeModel(file: NativeFile, source: string, { compile = true }: LoadModelSyncOptions): Model {
  const texts = JSON.parse(calling(() => file.wholeModel())) as WholeModelTexts;
  if (texts.modelConfig === null) {
    fail(
      "ERR_WEIGHTS_CONFIG",
      `${source} has no model config: it holds weights alone. Build the model and use model.loadWeights()`,
      { file: source, format: file.format() },
    );
  }
  const config = parse(ofKeras(texts.modelConfig, file), "model config", source);
  const { kerasVersion: version } = texts;
  const model = modelFromConfig(version === null ? config : { keras_version: version, ...config });
  adoptFrom(model, new WeightsFile(file));
  refuseUnknown(model, source);
  if (compile && texts.trainingConfig !== null) {
    const training = parse(texts.trainingConfig, "training config", source);
    const compilation = Compilation.read(training, model.flavor);
    if (compilation !== undefined) {
      if (!compilation.optimizer.known) compilation.optimizer.adopt(optimizerVariables(file));
      model.compileFrom(compilation);
    }
  }
  return model;
}

function refuseUnknown(model: Model, source: string): void {
  const unknown = new Set<string>();
  for (const node of describe(model, { optimizers: "none" }).nodes) {
    if (isLayer(node) && node.lacksWeights()) unknown.add(node.className);
  }
  if (unknown.size === 0) return;
  const names = [...unknown].join(", ");
  fail(
    "ERR_WEIGHTS_UNKNOWN_LAYER",
    `${source} has layers of classes that are not Keras' own, and no weights of theirs: ${names}. Say what they are by registerLayer(), or build ` +
      "the model and use model.loadWeights()",
    { file: source, found: names },
  );
}

type Row = [path: string, dtype: string, shape: number[]];

/** The optimizer's variables as the file has them, in order. */
function optimizerVariables(file: NativeFile): AdoptedVariable[] {
  const rows = JSON.parse(calling(() => file.entries())) as Row[];
  const adopted = ([, dtype, shape]: Row, name: string): AdoptedVariable => ({ name, shape, dtype: dtype as DType });
  const numbered = rows.filter(([path]) => /^optimizer\/vars\/\d+$/u.test(path));
  if (numbered.length > 0) {
    const key = ([path]: Row): number => Number(path.slice(path.lastIndexOf("/") + 1));
    return numbered.sort((a, b) => key(a) - key(b)).map((row) => adopted(row, `variable_${key(row)}`));
  }
  const group = "optimizer_weights/";
  const byName = new Map(
    rows.filter(([path]) => path.startsWith(group)).map((row) => [row[0].slice(group.length), row]),
  );
  return listedNames(file, byName.size > 0).flatMap((name) => {
    const row = byName.get(name);
    return row === undefined ? [] : [adopted(row, name.replace(/:0$/u, ""))];
  });
}

/** `weight_names`, in one piece or in several. */
function listedNames(file: NativeFile, present: boolean): string[] {
  if (!present) return [];
  const attributes = JSON.parse(calling(() => file.attributes("optimizer_weights"))) as Record<string, unknown>;
  const list = (name: string): string[] | undefined => {
    const value = attributes[name];
    return Array.isArray(value) ? (value as string[]) : undefined;
  };
  const whole = list("weight_names");
  if (whole !== undefined) return whole;
  const names: string[] = [];
  for (let k = 0, piece = list("weight_names0"); piece !== undefined; piece = list(`weight_names${(k += 1)}`)) {
    names.push(...piece);
  }
  return names;
}

/** Opening reads no weights; whether they are whole is looked at when they are loaded. */
function openOptions(options: LoadModelSyncOptions): string {
  return readOptions({ ...options, verify: options.verify === "off" ? "off" : "lazy" });
}

/** What a file says of its model, without reading any weights. Files of weights alone have nulls for everything. */
export async function readWholeModelTexts(
  source: Source,
  options: ReadOptions & JobOptions = {},
): Promise<WholeModelTexts> {
  const { signal, ...reading } = options;
  signal?.throwIfAborted();
  const [path, bytes] = splitSource(source);
  const opening = calling((addon) => addon.openFile(path, bytes, openOptions(reading)));
  const file = await finished(opening, { signal }, (job) => calling((addon) => addon.takeFile(job)));
  try {
    return JSON.parse(calling(() => file.wholeModel())) as WholeModelTexts;
  } finally {
    file.close();
  }
}

/**
 * Loads a whole model: its architecture, its weights, how it was compiled, and the optimizer's state. From `.keras` and
 * whole-model `.h5` files of all Kerases. No code in the file is run: `Lambda` layers stay data.
 *
 * ```ts
 * const model = await loadModel("mnist.keras");
 * console.log(model.summary(), model.optimizer?.className);
 * ```
 *
 * @throws ERR_WEIGHTS_CONFIG for a file of weights alone, ERR_WEIGHTS_UNKNOWN_LAYER with the classes to register, and
 * what `loadWeights` throws.
 */
export async function loadModel(source: Source, options: LoadModelOptions = {}): Promise<Model> {
  onlyKnown(options, [...optionNames, "signal", "onProgress"]);
  options.signal?.throwIfAborted();
  const { signal } = options;
  const [path, bytes] = splitSource(source);
  const opening = calling((addon) => addon.openFile(path, bytes, openOptions(options)));
  const file = await finished(opening, { signal }, (job) => calling((addon) => addon.takeFile(job)));
  try {
    const model = makeModel(file, nameOf(source), options);
    const { job, finish } = beginWhole(describe(model), file, options);
    await finished(job, options, finish);
    model.keepAssets(await finished(beginAssets(file), { signal }, takeAssets));
    return model;
  } finally {
    file.close();
  }
}

/** {@link loadModel}, here and now. */
export function loadModelSync(source: Source, options: LoadModelSyncOptions = {}): Model {
  onlyKnown(options, optionNames);
  const [path, bytes] = splitSource(source);
  const opening = calling((addon) => addon.openFile(path, bytes, openOptions(options)));
  const file = done(opening, (job) => calling((addon) => addon.takeFile(job)));
  try {
    const model = makeModel(file, nameOf(source), options);
    const { job, finish } = beginWhole(describe(model), file, options);
    done(job, finish);
    model.keepAssets(done(beginAssets(file), takeAssets));
    return model;
  } finally {
    file.close();
  }
}
