// The same model on our side: what reads and writes files.
import { modelFromConfig } from "../config/read.ts";
import { WeightsError } from "../errors.ts";
import { defaultFlavor, type Flavor } from "../model/flavor.ts";
import { isModel, type Model } from "../model/model.ts";
import type { Layer } from "../model/layer.ts";
import { pairWeights, type WeightPair } from "./pairs.ts";
import type { TfLayerLike, TfModelLike } from "./structural.ts";
import { kerasConfig } from "./untranslate.ts";

/** What a model was loaded from. */
export interface Origin {
  readonly config: object;
  readonly flavor: Flavor;
}

// Configs and not models: a model would hold values that TensorFlow.js has long replaced.
const origins = new WeakMap<TfModelLike, Origin>();

/** Remembers what Keras itself wrote of a model. */
export function rememberOrigin(model: TfModelLike, config: object, flavor: Flavor): void {
  origins.set(model, { config, flavor });
}

/** What Keras itself wrote of a model, if it came from there. */
export function originOf(model: TfModelLike): Origin | undefined {
  return origins.get(model);
}

/** A model of ours beside one of TensorFlow.js. */
export interface Twin {
  readonly keras: Model;
  readonly pairs: readonly WeightPair[];
}

/** Makes the twin; it holds no values yet. */
export function twinOf(model: TfModelLike, flavor?: Flavor): Twin {
  const origin = origins.get(model);
  const wanted = flavor ?? origin?.flavor ?? defaultFlavor;
  const config = origin?.flavor === wanted ? origin.config : kerasConfig(model, wanted);
  const keras = modelFromConfig(config, { flavor: wanted });
  return { keras, pairs: pairWeights(keras, model) };
}

/** The layers of ours that stand for layers of TensorFlow.js. */
export function twinLayers(twin: Twin, model: TfModelLike, wanted: readonly object[]): Layer[] {
  const found = new Map<object, Layer>();
  const walk = (keras: Model, tf: TfModelLike): void => {
    for (const layer of tf.layers) {
      const other = keras.layers.find(({ name }) => name === layer.name);
      if (other === undefined) continue;
      found.set(layer, other);
      if (isModel(other) && "layers" in (layer as TfLayerLike & Partial<TfModelLike>))
        walk(other, layer as TfModelLike);
    }
  };
  walk(twin.keras, model);
  return wanted.map((layer) => {
    const other = found.get(layer);
    if (other !== undefined) return other;
    throw new WeightsError("ERR_WEIGHTS_ARGUMENT", "objectsToSkip names a layer that is not in this model");
  });
}
