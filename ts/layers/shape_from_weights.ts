import { isWeightsError } from "../errors.ts";
import type { Shape } from "../model/shape.ts";

/** A layer of the table, as far as its weights' shapes go. */
export interface ShapedByInput {
  readonly config: object;
  /** Throws when the input does not suit the layer. */
  weightShapes(input: Shape): readonly (readonly number[])[];
}

const ranks = [2, 3, 4, 5];

/**
 * An input shape for which a layer has weights of just these shapes, where there is one: behind a layer of an unknown
 * class nothing else says it. Axes that weights do not depend on are `null`.
 */
export function inputShapeFor(layer: ShapedByInput, weights: readonly (readonly number[])[]): Shape | undefined {
  const wanted = JSON.stringify(weights);
  const lengths = new Set(weights.flat());
  const { groups } = layer.config as Readonly<Record<string, unknown>>;
  if (typeof groups === "number") for (const length of [...lengths]) lengths.add(length * groups);
  for (const rank of ranks) {
    for (const last of lengths) {
      const shape = [...Array.from({ length: rank - 1 }, () => null), last];
      if (JSON.stringify(shapesFor(layer, shape)) === wanted) return shape;
    }
  }
  return undefined;
}

/** Shapes of the weights that the layer would have; undefined where it refuses the input. */
function shapesFor(layer: ShapedByInput, input: Shape): readonly (readonly number[])[] | undefined {
  try {
    return layer.weightShapes(input);
  } catch (error) {
    if (isWeightsError(error)) return undefined;
    throw error;
  }
}
