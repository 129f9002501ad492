import { readFile } from "node:fs/promises";

import { modelFromConfig } from "../config/read.ts";
import { isObject, type JsonObject } from "../config/json.ts";
import { WeightsError } from "../errors.ts";
import type { LoadOptions, LoadReport } from "../io/load.ts";
import { readWholeModelTexts } from "../io/load_model.ts";
import { pathOf, type Source } from "../io/source.ts";
import { buildModel } from "./build.ts";
import { pairWeights } from "./pairs.ts";
import { tell, type TranslationNote } from "./problems.ts";
import type { TfNamespaceLike } from "./structural.ts";
import { keepFrozenNormalization } from "./frozen.ts";
import { rememberOrigin } from "./twin.ts";
import { requireTranslation, type TranslateOptions } from "./translate.ts";
import { handOver } from "./weights.ts";

/** How to load a model. */
export interface LoadLayersModelOptions extends TranslateOptions, LoadOptions {
  /** The model's config, or a path to it, when the file has weights alone. */
  readonly config?: object | string | URL | undefined;
  /** Is told what is different in training; without it, a warning of the process. */
  readonly onNote?: ((note: TranslationNote) => void) | undefined;
  /** Is given the report of the weights. */
  readonly onReport?: ((report: LoadReport) => void) | undefined;
}

/** The model class of a TensorFlow.js. */
export type ModelOf<T extends TfNamespaceLike> = Awaited<ReturnType<T["models"]["modelFromJSON"]>>;

/**
 * Loads a model that Keras 2 or Keras 3 saved into a `tf.LayersModel`.
 *
 * ```ts
 * import * as tf from "@tensorflow/tfjs";
 * import { loadLayersModel } from "keras-weights/tfjs";
 *
 * const model = await loadLayersModel(tf, "model.h5");
 * const other = await loadLayersModel(tf, "mnist.weights.h5", { config: "mnist.json" });
 * ```
 *
 * @param tf The namespace of `@tensorflow/tfjs`.
 * @param source A whole-model file, or weights with `options.config`.
 * @throws ERR_WEIGHTS_UNSUPPORTED with the list of all layers that TensorFlow.js cannot do, ERR_WEIGHTS_CONFIG, and what
 * `loadWeights` throws.
 */
export async function loadLayersModel<T extends TfNamespaceLike>(
  tf: T,
  source: Source,
  options: LoadLayersModelOptions = {},
): Promise<ModelOf<T>> {
  const { config: given, onNote, onReport, flavor, dtype, customLayers, ...loadOptions } = options;
  const config = given === undefined ? await configInside(source, loadOptions) : await configFrom(given);
  const translation = requireTranslation(config, { flavor, dtype, customLayers });
  const keras = modelFromConfig(config, { flavor: translation.flavor });
  const report = await keras.loadWeights(source, loadOptions);
  const model = await buildModel(tf, translation.topology);
  handOver({ keras, pairs: pairWeights(keras, model) });
  keepFrozenNormalization(model);
  rememberOrigin(model, config, translation.flavor);
  for (const note of translation.notes) tell(note, onNote);
  onReport?.(report);
  return model as ModelOf<T>;
}

async function configFrom(given: object | string | URL): Promise<JsonObject> {
  if (typeof given !== "string" && !(given instanceof URL)) return entryOf(given);
  const text = typeof given === "string" && given.trimStart().startsWith("{") ? given : await readText(pathOf(given));
  return parse(text, typeof given === "string" ? given : given.pathname);
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (cause) {
    const missing = (cause as NodeJS.ErrnoException).code === "ENOENT";
    const message = missing ? "there is no such config" : "the config cannot be read";
    throw new WeightsError(missing ? "ERR_WEIGHTS_NOT_FOUND" : "ERR_WEIGHTS_IO", message, { file: path, cause });
  }
}

function parse(text: string, file: string): JsonObject {
  try {
    return entryOf(JSON.parse(text));
  } catch (cause) {
    if (cause instanceof WeightsError) throw cause;
    throw new WeightsError("ERR_WEIGHTS_CONFIG", "the model config is not JSON", { file, cause });
  }
}

/** The entry of the model out of what Keras puts around it. */
function entryOf(value: unknown): JsonObject {
  if (typeof value === "string") return parse(value, "");
  if (!isObject(value)) throw new WeightsError("ERR_WEIGHTS_CONFIG", "a model config is an object");
  const inner = value["model_config"];
  if (inner === undefined || inner === null) return value;
  const version = value["keras_version"];
  return version === undefined ? entryOf(inner) : { ...entryOf(inner), keras_version: version };
}

/** The config in a whole-model file. */
async function configInside(source: Source, options: LoadOptions): Promise<JsonObject> {
  const { access, limits, signal } = options;
  const { modelConfig, kerasVersion } = await readWholeModelTexts(source, { access, limits, signal });
  if (modelConfig === null) {
    throw new WeightsError(
      "ERR_WEIGHTS_CONFIG",
      "this file has weights and no model: give the model's config as options.config",
      source instanceof Uint8Array ? {} : { file: String(source) },
    );
  }
  const entry = parse(modelConfig, "model_config");
  return kerasVersion === null ? entry : { keras_version: kerasVersion, ...entry };
}
