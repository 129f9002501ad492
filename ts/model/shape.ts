import { fail } from "./failure.ts";
import { mapStructure, type Structure } from "./structure.ts";

/** A length of an axis; `null` where any length goes (the batch, most often). */
export type Dim = number | null;

/** Lengths of all axes, the batch included. */
export type Shape = readonly Dim[];

/** The shape of one tensor, of a list of them, or of a dictionary. */
export type ShapeStructure = Structure<Shape>;

/** A shape that says nothing: what lies behind a layer of a class that nobody declared. */
export const unknownShape = "unknown";

/** A shape, or that it is not known. */
export type MaybeShape = Shape | typeof unknownShape;

/** Whether a value is one shape and not a list or dictionary of them. `[]` is a scalar's shape. */
export function isShape(value: unknown): value is Shape {
  return Array.isArray(value) && value.every((dim) => dim === null || typeof dim === "number");
}

/** The same nesting with something else for each shape. */
export function mapShapes<U>(structure: ShapeStructure, change: (shape: Shape) => U): Structure<U> {
  return mapStructure<Shape, U>(structure, isShape, change);
}

/** A shape as Keras prints it: `(None, 784)`. */
export function shapeText(shape: MaybeShape): string {
  if (shape === unknownShape) return "?";
  const dims = shape.map((dim) => (dim === null ? "None" : String(dim)));
  return dims.length === 1 ? `(${dims[0] ?? ""},)` : `(${dims.join(", ")})`;
}

/** Elements of a shape without unknown axes. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((size, dim) => size * dim, 1);
}

/** An axis counted from the front: `-1` of a rank-3 shape is 2. */
export function axisOf(axis: number, rank: number): number {
  const front = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(front) || front < 0 || front >= rank) {
    fail("ERR_WEIGHTS_ARGUMENT", `axis ${axis} is not an axis of a tensor of rank ${rank}`);
  }
  return front;
}

/** The length of an axis, `null` where it is unknown. */
export function dimAt(shape: Shape, axis: number): Dim {
  return shape[axisOf(axis, shape.length)] ?? null;
}

/** The length of an axis from which a weight gets its shape; unknown is an error. */
export function knownDim(shape: Shape, axis: number): number {
  const dim = dimAt(shape, axis);
  if (dim === null) {
    fail(
      "ERR_WEIGHTS_UNBUILT",
      `axis ${axis} of the input shape ${shapeText(shape)} must be known to create the weights`,
    );
  }
  return dim;
}

/** A shape with one axis changed. */
export function withDim(shape: Shape, axis: number, dim: Dim): Dim[] {
  const result = [...shape];
  result[axisOf(axis, shape.length)] = dim;
  return result;
}

/** Multiplies lengths; unknown as soon as one is. */
export function product(dims: readonly Dim[]): Dim {
  let result = 1;
  for (const dim of dims) {
    if (dim === null) return null;
    result *= dim;
  }
  return result;
}
