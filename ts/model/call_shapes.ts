import { fail } from "./failure.ts";
import { mapShapes, unknownShape, type MaybeShape, type Shape, type ShapeStructure } from "./shape.ts";
import { flatten, mapStructure, type Structure } from "./structure.ts";
import { isSymbolic, Symbolic, type CallArgument } from "./symbolic.ts";

/** Symbolic tensors of given shapes. */
export function placeholders(shape: ShapeStructure, dtype: string): Structure<Symbolic> {
  return mapShapes(shape, (leaf) => new Symbolic(leaf, dtype));
}

/** Shapes of the tensors in an argument: undefined without tensors, "unknown" when one is. */
export function shapesOf(arg: CallArgument): ShapeStructure | typeof unknownShape | undefined {
  const tensors = flatten(arg, isSymbolic);
  if (tensors.length === 0) return undefined;
  if (tensors.some((tensor) => tensor.shape === unknownShape)) return unknownShape;
  return mapStructure(arg as Structure<Symbolic>, isSymbolic, (tensor) => tensor.shape as Shape);
}

/** Whether shapes are known. */
export function isKnown(shape: ShapeStructure | typeof unknownShape): boolean {
  return shape !== unknownShape;
}

/** A shape that must be known, of the output of a layer. */
export function knownShape(shape: MaybeShape, layer: { readonly className: string; readonly name: string }): Shape {
  if (shape !== unknownShape) return shape;
  return fail("ERR_WEIGHTS_UNKNOWN_LAYER", `the output shape of ${layer.className} "${layer.name}" is not known`, {
    layer: layer.name,
  });
}
