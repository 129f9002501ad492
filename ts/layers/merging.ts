import { fail } from "../model/failure.ts";
import { axisOf, shapeText, type Dim, type Shape } from "../model/shape.ts";
import { defineLayer } from "./definition.ts";
import { number } from "./fields.ts";

/** Keras' rule: shapes are lined up at their ends, 1 stretches, and batches that differ become unknown. */
function broadcast(shapes: readonly Shape[], className: string): Shape {
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
        if (left === null || right === null) return null;
        return fail("ERR_WEIGHTS_SHAPE", `${className} cannot join ${shapes.map(shapeText).join(" and ")}`);
      });
    });
  return [batch ?? null, ...rest];
}

function merge(className: string) {
  return defineLayer({
    className,
    config: {},
    outputShape: ({ inputs }) => {
      if (inputs.length < 1) fail("ERR_WEIGHTS_ARGUMENT", `${className} takes a list of tensors`);
      return broadcast(inputs, className);
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
