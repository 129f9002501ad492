import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import { axisOf, shapeText, type Dim, type Shape } from "../model/shape.ts";
import { defineLayer } from "./definition.ts";
import { flag, number, numbers } from "./fields.ts";

/** Keras' rule: shapes are lined up at their ends, 1 stretches, and batches that differ become unknown. */
function broadcast(shapes: readonly Shape[], className: string, flavor: Flavor): Shape {
  const batches = new Set(shapes.map((shape) => shape[0] ?? null));
  const [batch] = batches.size === 1 ? [...batches] : [null];
  const rest = shapes
    .map((shape): Shape => shape.slice(1))
    .reduce((a, b) => {
      const rank = Math.max(a.length, b.length);
      return Array.from({ length: rank }, (_, i): Dim => {
        const left = a[i - rank + a.length];
        const right = b[i - rank + b.length];
        if (left === undefined) return right ?? null;
        if (right === undefined) return left;
        if (left === right || right === 1) return left;
        if (left === 1) return right;
        // Keras 2 has run the sum: an unknown length beside a known one must be that one.
        if (left === null || right === null) return flavor === "keras2" ? (left ?? right) : null;
        return fail("ERR_WEIGHTS_SHAPE", `${className} cannot join ${shapes.map(shapeText).join(" and ")}`);
      });
    });
  return [batch ?? null, ...rest];
}

function merge(className: string) {
  return defineLayer({
    className,
    config: {},
    outputShape: ({ inputs, flavor }) => {
      if (inputs.length < 1) fail("ERR_WEIGHTS_ARGUMENT", `${className} takes a list of tensors`);
      return broadcast(inputs, className, flavor);
    },
  });
}

/** `Add`. */
export const add = merge("Add");
/** `Subtract`. */
export const subtract = merge("Subtract");
/** `Multiply`. */
export const multiply = merge("Multiply");
/** `Average`. */
export const average = merge("Average");
/** `Maximum`. */
export const maximum = merge("Maximum");
/** `Minimum`. */
export const minimum = merge("Minimum");

/** `Concatenate`: the lengths of one axis add up. */
export const concatenate = defineLayer({
  className: "Concatenate",
  args: ["axis"],
  config: { axis: number(-1) },
  outputShape: ({ config, inputs, input }) => {
    const axis = axisOf(config.axis, input.length);
    return input.map((dim, i) => {
      const dims = inputs.map((shape) => shape[i] ?? null);
      if (i === axis)
        return dims.reduce<Dim>((sum, length) => (sum === null || length === null ? null : sum + length), 0);
      const known = new Set(dims.filter((length) => length !== null));
      if (known.size > 1) {
        fail(
          "ERR_WEIGHTS_SHAPE",
          `Concatenate cannot join ${inputs.map(shapeText).join(" and ")} on axis ${config.axis}`,
        );
      }
      return dim;
    });
  },
});

/** `Dot`: sums over one axis of each of two tensors. */
export const dot = defineLayer({
  className: "Dot",
  args: ["axes"],
  config: { axes: numbers(), normalize: flag(false) },
  outputShape: ({ config, inputs, input }) => {
    const [left, right] = [input, inputs[1] ?? fail("ERR_WEIGHTS_ARGUMENT", "Dot takes a list of two tensors")];
    const [first = -1, second = first] = [config.axes].flat();
    const leftAxis = axisOf(first, left.length);
    const rightAxis = axisOf(second, right.length);
    const [summed, other] = [left[leftAxis] ?? null, right[rightAxis] ?? null];
    if (summed !== null && other !== null && summed !== other) {
      fail("ERR_WEIGHTS_SHAPE", `Dot cannot sum over axes of the lengths ${summed} and ${other}`);
    }
    const rest = right.filter((_, axis) => axis !== rightAxis).slice(1);
    const shape = [...left.filter((_, axis) => axis !== leftAxis), ...rest];
    return shape.length === 1 ? [...shape, 1] : shape;
  },
});
