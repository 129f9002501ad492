import { fail } from "../model/failure.ts";
import { product, shapeText, type Dim } from "../model/shape.ts";
import { defineLayer } from "./definition.ts";
import { json, text } from "./fields.ts";

/** `Flatten`: all axes but the batch become one. */
export const flatten = defineLayer({
  className: "Flatten",
  config: { data_format: text("channels_last") },
  outputShape: ({ input }) => {
    const [batch = null, ...rest] = input;
    return [batch, rest.some((dim) => dim === 0) ? 0 : product(rest)];
  },
});

/** `Reshape`: one length may be -1. */
export const reshape = defineLayer({
  className: "Reshape",
  args: ["target_shape"],
  config: { target_shape: json<readonly number[]>() },
  outputShape: ({ config, input }) => {
    const [batch = null, ...rest] = input;
    const target: readonly number[] = config.target_shape;
    const elements = product(rest);
    const given = target.filter((dim) => dim !== -1).reduce((size, dim) => size * dim, 1);
    const open = target.length - target.filter((dim) => dim !== -1).length;
    if (open > 1 || (elements !== null && (open === 0 ? given !== elements : given === 0 || elements % given !== 0))) {
      fail("ERR_WEIGHTS_SHAPE", `Reshape cannot make ${shapeText(target)} of ${shapeText(rest)}`, {
        expected: [...target],
      });
    }
    const free: Dim = elements === null ? null : elements / given;
    return [batch, ...target.map((dim) => (dim === -1 ? free : dim))];
  },
});
