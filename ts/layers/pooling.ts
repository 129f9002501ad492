import { fail } from "../model/failure.ts";
import { defineLayer } from "./definition.ts";
import { flag, nullable, perAxis, text } from "./fields.ts";
import { channelsOf, formatOf, needRank, spatial, windowLength, withSpatial } from "./shapes.ts";

function pooling(className: string, alias: string, rank: number) {
  return defineLayer({
    builtAtOnce: true,
    className,
    aliases: [alias],
    args: ["pool_size", "strides", "padding"],
    config: {
      pool_size: perAxis(rank, 2),
      strides: nullable(perAxis(rank)),
      padding: text("valid"),
      data_format: text("channels_last"),
    },
    complete: (config) => ({ ...config, strides: config.strides ?? config.pool_size }),
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      const dims = spatial(input, format).map((dim, i) => {
        const length = windowLength(dim, config.pool_size[i] ?? 1, config.strides?.[i] ?? 1, config.padding);
        if (length === 0) fail("ERR_WEIGHTS_SHAPE", `${className} leaves nothing of an axis of length ${dim ?? "?"}`);
        return length;
      });
      return withSpatial(input[0] ?? null, dims, channelsOf(input, format), format);
    },
  });
}

function globalPooling(className: string, alias: string, rank: number) {
  return defineLayer({
    builtAtOnce: true,
    className,
    aliases: [alias],
    config: { data_format: text("channels_last"), keepdims: flag(false) },
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      const [batch = null] = input;
      const channels = channelsOf(input, format);
      return config.keepdims ? withSpatial(batch, Array<number>(rank).fill(1), channels, format) : [batch, channels];
    },
  });
}

/** `MaxPooling1D`. */
export const maxPooling1d = pooling("MaxPooling1D", "MaxPool1D", 1);
/** `MaxPooling2D`. */
export const maxPooling2d = pooling("MaxPooling2D", "MaxPool2D", 2);
/** `MaxPooling3D`. */
export const maxPooling3d = pooling("MaxPooling3D", "MaxPool3D", 3);
/** `AveragePooling1D`. */
export const averagePooling1d = pooling("AveragePooling1D", "AvgPool1D", 1);
/** `AveragePooling2D`. */
export const averagePooling2d = pooling("AveragePooling2D", "AvgPool2D", 2);
/** `AveragePooling3D`. */
export const averagePooling3d = pooling("AveragePooling3D", "AvgPool3D", 3);
/** `GlobalMaxPooling1D`. */
export const globalMaxPooling1d = globalPooling("GlobalMaxPooling1D", "GlobalMaxPool1D", 1);
/** `GlobalMaxPooling2D`. */
export const globalMaxPooling2d = globalPooling("GlobalMaxPooling2D", "GlobalMaxPool2D", 2);
/** `GlobalMaxPooling3D`. */
export const globalMaxPooling3d = globalPooling("GlobalMaxPooling3D", "GlobalMaxPool3D", 3);
/** `GlobalAveragePooling1D`. */
export const globalAveragePooling1d = globalPooling("GlobalAveragePooling1D", "GlobalAvgPool1D", 1);
/** `GlobalAveragePooling2D`. */
export const globalAveragePooling2d = globalPooling("GlobalAveragePooling2D", "GlobalAvgPool2D", 2);
/** `GlobalAveragePooling3D`. */
export const globalAveragePooling3d = globalPooling("GlobalAveragePooling3D", "GlobalAvgPool3D", 3);

function adaptive(className: string, rank: number) {
  return defineLayer({
    className,
    flavors: ["keras3"],
    args: ["output_size"],
    config: { output_size: perAxis(rank), data_format: text("channels_last") },
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      return withSpatial(input[0] ?? null, config.output_size, channelsOf(input, format), format);
    },
  });
}

/** `AdaptiveMaxPooling1D` (Keras 3). */
export const adaptiveMaxPooling1d = adaptive("AdaptiveMaxPooling1D", 1);
/** `AdaptiveMaxPooling2D` (Keras 3). */
export const adaptiveMaxPooling2d = adaptive("AdaptiveMaxPooling2D", 2);
/** `AdaptiveMaxPooling3D` (Keras 3). */
export const adaptiveMaxPooling3d = adaptive("AdaptiveMaxPooling3D", 3);
/** `AdaptiveAveragePooling1D` (Keras 3). */
export const adaptiveAveragePooling1d = adaptive("AdaptiveAveragePooling1D", 1);
/** `AdaptiveAveragePooling2D` (Keras 3). */
export const adaptiveAveragePooling2d = adaptive("AdaptiveAveragePooling2D", 2);
/** `AdaptiveAveragePooling3D` (Keras 3). */
export const adaptiveAveragePooling3d = adaptive("AdaptiveAveragePooling3D", 3);
