import type { Layer } from "../model/layer.ts";
import type { ShapeStructure } from "../model/shape.ts";
import { isObject, type JsonObject } from "./json.ts";

/**
 * Builds a layer from the shapes that Keras noted beside its config: `input_shape`, or `shapes_dict` for layers whose
 * `build` takes several.
 */
export function buildFrom(layer: Layer, buildConfig: JsonObject): void {
  const { input_shape: inputShape, shapes_dict: shapes } = buildConfig;
  if (inputShape !== undefined && inputShape !== null) {
    layer.buildWith({ [layer.callArguments()[0] ?? "inputs"]: inputShape as ShapeStructure });
  } else if (isObject(shapes)) {
    const named: Record<string, ShapeStructure> = {};
    for (const [name, shape] of Object.entries(shapes)) named[name.replace(/_shape$/, "")] = shape as ShapeStructure;
    layer.buildWith(named);
  }
}
