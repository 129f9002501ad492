import { defineLayer } from "./definition.ts";
import { anything, json, number, only, text } from "./fields.ts";

const seed = json<number | null>(null);

/** `Dropout`. */
export const dropout = defineLayer({
  builtAtOnce: true,
  className: "Dropout",
  args: ["rate"],
  config: { rate: number(), seed, noise_shape: anything() },
});

/** `AlphaDropout`. */
export const alphaDropout = defineLayer({
  builtAtOnce: true,
  className: "AlphaDropout",
  args: ["rate"],
  config: { rate: number(), seed, noise_shape: only("keras3", anything()) },
});

/** `GaussianDropout`. */
export const gaussianDropout = defineLayer({
  builtAtOnce: true,
  className: "GaussianDropout",
  args: ["rate"],
  config: { rate: number(), seed },
});

/** `GaussianNoise`. */
export const gaussianNoise = defineLayer({
  builtAtOnce: true,
  className: "GaussianNoise",
  args: ["stddev"],
  config: { stddev: number(), seed },
});

/** `ActivityRegularization`. */
export const activityRegularization = defineLayer({
  builtAtOnce: true,
  className: "ActivityRegularization",
  args: ["l1", "l2"],
  config: { l1: number(0), l2: number(0) },
});

/** `SpatialDropout1D`. */
export const spatialDropout1d = defineLayer({
  builtAtOnce: true,
  className: "SpatialDropout1D",
  plainConfig: "keras3",
  args: ["rate"],
  config: { rate: number(), seed, noise_shape: only("keras2", anything()) },
});

function spatialDropout(className: string) {
  return defineLayer({
    builtAtOnce: true,
    className,
    plainConfig: "keras3",
    args: ["rate"],
    config: {
      rate: number(),
      seed,
      noise_shape: only("keras2", anything()),
      data_format: only("keras3", text("channels_last")),
    },
  });
}

/** `SpatialDropout2D`. */
export const spatialDropout2d = spatialDropout("SpatialDropout2D");
/** `SpatialDropout3D`. */
export const spatialDropout3d = spatialDropout("SpatialDropout3D");
