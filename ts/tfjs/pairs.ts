// Weights of a TensorFlow.js model beside those of the same model in Keras.
import { WeightsError } from "../errors.ts";
import { isModel, type Model } from "../model/model.ts";
import type { Layer } from "../model/layer.ts";
import type { Variable } from "../model/variable.ts";
import type { TfLayerLike, TfVariableLike } from "./structural.ts";

/** One weight on both sides. */
export interface WeightPair {
  readonly keras: Variable;
  readonly tf: TfVariableLike;
  /** Name of the layer, under the names of nested models. */
  readonly layer: string;
}

interface Nested {
  readonly layers?: readonly TfLayerLike[];
  readonly layer?: TfLayerLike;
  readonly forwardLayer?: TfLayerLike;
  readonly backwardLayer?: TfLayerLike;
}

/** The weights of a layer in Keras' order, which for models is the order of their layers. */
export function tfWeights(layer: TfLayerLike): readonly TfVariableLike[] {
  const { layers, layer: inner, forwardLayer, backwardLayer } = layer as Nested;
  if (layers !== undefined) return unique(layers.flatMap((one) => tfWeights(one)));
  // Frozen layers and wrappers move weights around in TensorFlow.js' own lists.
  if (forwardLayer !== undefined && backwardLayer !== undefined) {
    return [...tfWeights(forwardLayer), ...tfWeights(backwardLayer)];
  }
  return inner === undefined ? layer.weights : tfWeights(inner);
}

function unique<T>(items: readonly T[]): T[] {
  return [...new Set(items)];
}

/**
 * Pairs the weights of two models that are the same, layer by layer by name.
 *
 * @throws ERR_WEIGHTS_LAYER_COUNT, ERR_WEIGHTS_WEIGHT_COUNT, ERR_WEIGHTS_SHAPE where they differ after all.
 */
export function pairWeights(keras: Model, tf: TfLayerLike, path = ""): WeightPair[] {
  const others = new Map(((tf as Nested).layers ?? []).map((layer) => [layer.name, layer]));
  const pairs = keras.layers.flatMap((layer): WeightPair[] => {
    const other = others.get(layer.name);
    const where = path === "" ? layer.name : `${path}/${layer.name}`;
    if (other === undefined) {
      if (layer.weights.length === 0) return [];
      throw new WeightsError("ERR_WEIGHTS_LAYER_COUNT", `the TensorFlow.js model has no layer "${where}"`, {
        layer: where,
      });
    }
    return isModel(layer) ? pairWeights(layer, other, where) : pairLayer(layer, other, where);
  });
  const seen = new Set<Variable>();
  return pairs.filter(({ keras: variable }) => !seen.has(variable) && seen.add(variable));
}

/** The layers inside a wrapper, forward before backward. */
function insideOf(layer: TfLayerLike): readonly TfLayerLike[] {
  const { layer: inner, forwardLayer, backwardLayer } = layer as Nested;
  if (forwardLayer !== undefined && backwardLayer !== undefined) return [forwardLayer, backwardLayer];
  return inner === undefined ? [] : [inner];
}

function pairLayer(layer: Layer, other: TfLayerLike, where: string): WeightPair[] {
  const inside = insideOf(other);
  const own = layer.trackedLayers();
  // Keras 2 lists the weights inside a wrapper by whether they are trainable, so they are paired one layer deeper.
  if (inside.length > 0 && own.length === inside.length) {
    return own.flatMap((inner, index) => {
      const twin = inside[index];
      if (twin === undefined) return [];
      return isModel(inner) ? pairWeights(inner, twin, where) : pairLayer(inner, twin, where);
    });
  }
  const weights = tfWeights(other);
  if (weights.length !== layer.weights.length) {
    throw new WeightsError("ERR_WEIGHTS_WEIGHT_COUNT", `"${where}" has another number of weights in TensorFlow.js`, {
      layer: where,
      expected: layer.weights.length,
      found: weights.length,
    });
  }
  return layer.weights.map((keras, index) => {
    const tf = weights[index];
    if (tf?.shape.join() !== keras.shape.join()) {
      throw new WeightsError("ERR_WEIGHTS_SHAPE", `${keras.path} has another shape in TensorFlow.js`, {
        layer: where,
        weight: keras.path,
        expected: [...keras.shape],
        found: tf?.shape.map((dim) => dim ?? -1),
      });
    }
    return { keras, tf, layer: where };
  });
}
