// Keras' verbs for models of TensorFlow.js.
import type { LoadOptions, LoadReport } from "../io/load.ts";
import type { SaveOptions, SaveReport } from "../io/save.ts";
import type { Source } from "../io/source.ts";
import type { Flavor } from "../model/flavor.ts";
import { writeWeights } from "../model/weights.ts";
import { Tensor, type TypedArray } from "../tensor.ts";
import type { WeightPair } from "./pairs.ts";
import type { TfModelLike } from "./structural.ts";
import { twinLayers, twinOf, type Twin } from "./twin.ts";
import { assignValues, float32Of, valuesOf, valuesSync } from "./values.ts";

/** Which Keras the weights are meant for. */
export interface TfOptions {
  /** Default: the Keras whose model it was loaded from, else keras3. */
  readonly flavor?: Flavor | undefined;
}

/** The pairs in the order of Keras' `get_weights`. */
function ordered({ keras, pairs }: Twin): WeightPair[] {
  const byVariable = new Map(pairs.map((pair) => [pair.keras, pair]));
  return keras.weights.map((variable) => byVariable.get(variable)).filter((pair) => pair !== undefined);
}

/**
 * All weights in Keras' order, which freezing does not change: not the order of TensorFlow.js' own `getWeights`. The
 * values are copies.
 */
export function getWeights(model: TfModelLike, options: TfOptions = {}): Tensor<"float32">[] {
  return ordered(twinOf(model, options.flavor)).map(({ keras, tf, layer }) => {
    const { path, localName: name, shape } = keras;
    return new Tensor({ path, layer, name, dtype: "float32", shape, data: valuesSync(tf).slice() });
  });
}

/**
 * Sets all weights, in Keras' order. Counts and shapes are checked before anything changes; values are copied in, and
 * no constraint is applied to them.
 *
 * @throws ERR_WEIGHTS_WEIGHT_COUNT, ERR_WEIGHTS_SHAPE
 */
export function setWeights(
  model: TfModelLike,
  values: readonly (Tensor | TypedArray)[],
  options: TfOptions = {},
): void {
  const twin = twinOf(model, options.flavor);
  writeWeights(twin.keras, values);
  for (const { keras, tf } of twin.pairs) assignValues(tf, float32Of(keras));
}

/**
 * Loads weights that Keras saved, in any format: all of them, or nothing and an error. Options, report and errors are
 * those of `loadWeights` of our own models; `objectsToSkip` takes TensorFlow.js layers.
 *
 * ```ts
 * const report = await loadWeights(model, "mnist.weights.h5");
 * ```
 */
export async function loadWeights(
  model: TfModelLike,
  source: Source,
  options: LoadOptions & TfOptions = {},
): Promise<LoadReport> {
  const { flavor, objectsToSkip, ...rest } = options;
  const twin = twinOf(model, flavor);
  const skip = objectsToSkip === undefined ? {} : { objectsToSkip: twinLayers(twin, model, objectsToSkip) };
  const report = await twin.keras.loadWeights(source, { ...rest, ...skip });
  handOver(twin);
  return report;
}

/** Gives TensorFlow.js what was loaded; weights that nothing was loaded for stay as they are. */
export function handOver({ pairs }: Twin): void {
  for (const { keras, tf } of pairs) if (keras.version > 0) assignValues(tf, float32Of(keras));
}

/**
 * Saves the weights in any of Keras' formats; options, report and errors are those of `saveWeights` of our own models.
 * Do not train until it is done.
 */
export async function saveWeights(
  model: TfModelLike,
  destination: string | URL,
  options: SaveOptions & TfOptions = {},
): Promise<SaveReport> {
  const { flavor, ...rest } = options;
  const twin = twinOf(model, flavor);
  await takeOver(twin);
  return twin.keras.saveWeights(destination, rest);
}

/** Takes the values of TensorFlow.js over into the twin. */
export async function takeOver({ pairs }: Twin): Promise<void> {
  for (const { keras, tf } of pairs) {
    const values = await valuesOf(tf);
    if (keras.dtype === "float32") keras.replace(values);
    else keras.assign(values);
  }
}
