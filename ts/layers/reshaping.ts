import { isList, type Json } from "../config/json.ts";
import { fail } from "../model/failure.ts";
import { product, shapeText, type Dim, type Shape } from "../model/shape.ts";
import { defineLayer } from "./definition.ts";
import { json, number, only, perAxis, text, type Field, type Fields } from "./fields.ts";
import { channelsOf, formatOf, needRank, spatial, withSpatial } from "./shapes.ts";

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

/** `Permute`: axes in another order, counted from 1. */
export const permute = defineLayer({
  className: "Permute",
  args: ["dims"],
  config: { dims: json<readonly number[]>() },
  outputShape: ({ config, input }) => [input[0] ?? null, ...config.dims.map((axis) => input[axis] ?? null)],
});

/** `RepeatVector`. */
export const repeatVector = defineLayer({
  className: "RepeatVector",
  args: ["n"],
  config: { n: number() },
  outputShape: ({ config, input }) => [input[0] ?? null, config.n, ...input.slice(1)],
});

/** One amount for both ends of all axes, one an axis, or a pair an axis. */
function bothEnds(rank: number, fallback: number): Field<Json, readonly (readonly [number, number])[]> {
  const pair = (value: Json): readonly [number, number] => {
    const [before = 0, after = 0] = isList(value) ? value.map(Number) : [Number(value), Number(value)];
    return [before, after];
  };
  return {
    fallback: Array.from({ length: rank }, () => [fallback, fallback] as const),
    read: (value, _, key) => {
      if (typeof value === "number") return Array.from({ length: rank }, () => pair(value));
      if (!isList(value)) return fail("ERR_WEIGHTS_CONFIG", `${key} is not a number, ${rank} numbers or ${rank} pairs`);
      return rank === 1 ? [pair(isList(value[0]) ? value[0] : value)] : value.map(pair);
    },
    write: (value) => (rank === 1 ? [...(value[0] ?? [0, 0])] : value.map((ends) => [...ends])),
  };
}

function resizing(className: string, rank: number, key: "cropping" | "padding", sign: 1 | -1, fallback: number) {
  const ends = bothEnds(rank, fallback);
  const format = rank === 1 ? only("keras3", text("channels_last")) : text("channels_last");
  const config: Fields = key === "cropping" && rank === 1 ? { [key]: ends } : { [key]: ends, data_format: format };
  return defineLayer({
    className,
    args: [key],
    config,
    outputShape: ({ config: settings, input }) => {
      needRank(input, rank + 2, className);
      const amounts = settings[key] as readonly (readonly [number, number])[];
      const where = formatOf((settings["data_format"] as string | undefined) ?? null);
      const dims = spatial(input, where).map((dim, i): Dim => {
        const [before, after] = amounts[i] ?? [0, 0];
        return dim === null ? null : dim + sign * (before + after);
      });
      return withSpatial(input[0] ?? null, dims, channelsOf(input, where), where);
    },
  });
}

/** `Cropping1D`. */
export const cropping1d = resizing("Cropping1D", 1, "cropping", -1, 1);
/** `Cropping2D`. */
export const cropping2d = resizing("Cropping2D", 2, "cropping", -1, 0);
/** `Cropping3D`. */
export const cropping3d = resizing("Cropping3D", 3, "cropping", -1, 1);
/** `ZeroPadding1D`. */
export const zeroPadding1d = resizing("ZeroPadding1D", 1, "padding", 1, 1);
/** `ZeroPadding2D`. */
export const zeroPadding2d = resizing("ZeroPadding2D", 2, "padding", 1, 1);
/** `ZeroPadding3D`. */
export const zeroPadding3d = resizing("ZeroPadding3D", 3, "padding", 1, 1);

/** `UpSampling1D`. */
export const upSampling1d = defineLayer({
  className: "UpSampling1D",
  args: ["size"],
  config: { size: number(2) },
  outputShape: ({ config, input: [batch = null, steps = null, channels = null] }) => [
    batch,
    steps === null ? null : steps * config.size,
    channels,
  ],
});

function upSampled(input: Shape, size: readonly number[], dataFormat: string): Shape {
  const format = formatOf(dataFormat);
  const dims = spatial(input, format).map((dim, i) => (dim === null ? null : dim * (size[i] ?? 1)));
  return withSpatial(input[0] ?? null, dims, channelsOf(input, format), format);
}

/** `UpSampling2D`. */
export const upSampling2d = defineLayer({
  className: "UpSampling2D",
  args: ["size"],
  config: { size: perAxis(2, 2), data_format: text("channels_last"), interpolation: text("nearest") },
  outputShape: ({ config, input }) => upSampled(input, config.size, config.data_format),
});

/** `UpSampling3D`. */
export const upSampling3d = defineLayer({
  className: "UpSampling3D",
  args: ["size"],
  config: { size: perAxis(3, 2), data_format: text("channels_last") },
  outputShape: ({ config, input }) => upSampled(input, config.size, config.data_format),
});
