import { modelFromConfig } from "../config/read.ts";
import type { SaveModelOptions } from "../io/save_model.ts";
import type { SaveReport } from "../io/save.ts";
import { isModel } from "../model/model.ts";
import { defaultFlavor } from "../model/flavor.ts";
import type { Layer } from "../model/layer.ts";
import { Compilation } from "../training/compilation.ts";
import { checkAxes } from "./axes.ts";
import { kerasLoss, kerasMetrics } from "./losses.ts";
import { kerasOptimizer, type TfOptimizerLike } from "./optimizers.ts";
import { pairWeights } from "./pairs.ts";
import { Problems, refusalError, tell, type TranslationNote } from "./problems.ts";
import type { TfLayerLike, TfModelLike } from "./structural.ts";
import { originOf, type Twin } from "./twin.ts";
import { kerasArchitecture, kerasName } from "./untranslate.ts";
import { takeOver, type TfOptions } from "./weights.ts";

/** How to save a model. `includeOptimizer: false` leaves out what it was compiled with. */
export interface TfSaveModelOptions extends SaveModelOptions, TfOptions {
  /** Is told what is different in training; without it, a warning of the process. */
  readonly onNote?: ((note: TranslationNote) => void) | undefined;
}

interface Compiled extends TfModelLike {
  readonly optimizer?: TfOptimizerLike | null;
  readonly loss?: unknown;
  readonly metrics?: unknown;
}

/**
 * Saves a model of TensorFlow.js as Keras would: `.keras` or `.h5`, with its weights, how it was compiled, and the
 * optimizer's state. Keras predicts the same and trains on from there. Do not train until it is done.
 *
 * ```ts
 * await saveModel(model, "trained.keras"); // keras.models.load_model("trained.keras")
 * await saveModel(model, "trained.h5", { flavor: "keras2" }); // for tf_keras
 * ```
 *
 * @param options `flavor` says for which Keras; default: the one that the model was loaded from, else Keras 3.
 * @throws ERR_WEIGHTS_UNSUPPORTED with the list of all that this Keras does not have or computes otherwise; what
 * `model.save` of our own models throws.
 */
export async function saveModel(
  model: TfModelLike,
  destination: string | URL,
  options: TfSaveModelOptions = {},
): Promise<SaveReport> {
  const { flavor, onNote, ...rest } = options;
  const problems = new Problems();
  const twin = exactTwin(model, flavor, problems);
  const { optimizer, loss, metrics } = model as Compiled;
  const compiled = optimizer !== undefined && optimizer !== null && rest.includeOptimizer !== false;
  const asked = compiled ? { loss: kerasLoss(loss, problems), metrics: kerasMetrics(metrics, problems) } : {};
  const kerasFlavor = twin.keras.flavor;
  const trained = twin.keras.trainableWeights;
  const made = compiled ? await kerasOptimizer(optimizer, kerasFlavor, trained, twin.pairs, problems) : undefined;
  if (problems.refusals.length > 0) throw refusalError(problems.refusals, kerasName(kerasFlavor));
  if (made !== undefined) twin.keras.compileFrom(Compilation.of({ ...asked, optimizer: made }, kerasFlavor));
  for (const note of problems.notes) tell(note, onNote);
  await takeOver(twin);
  return twin.keras.save(destination, rest);
}

/** The same model of ours: predicts the same, and what is frozen is frozen. */
function exactTwin(model: TfModelLike, given: TfOptions["flavor"], problems: Problems): Twin {
  const origin = originOf(model);
  const flavor = given ?? origin?.flavor ?? defaultFlavor;
  const own = origin?.flavor === flavor ? origin.config : undefined;
  const config = own ?? kerasArchitecture(model, flavor, problems);
  if (problems.refusals.length > 0) throw refusalError(problems.refusals, kerasName(flavor));
  if (own === undefined) checkAxes(model, kerasName(flavor));
  const keras = modelFromConfig(config, { flavor });
  freezeAs(keras, model, false);
  return { keras, pairs: pairWeights(keras, model) };
}

/** Containers of TensorFlow.js do not write down that they are frozen, and layers may have been frozen since. */
function freezeAs(keras: Layer, tf: TfLayerLike, frozen: boolean): void {
  const now = frozen || !tf.trainable;
  if (!isModel(keras)) {
    if (keras.trainable === now) keras.trainable = !now;
    return;
  }
  const others = new Map((tf as TfModelLike).layers.map((layer) => [layer.name, layer]));
  for (const layer of keras.layers) {
    const other = others.get(layer.name);
    if (other !== undefined) freezeAs(layer, other, now);
  }
}
