import { parseInitializer } from "../initializers.ts";
import { axisOf, knownDim, type Shape } from "../model/shape.ts";
import { defineLayer, weight } from "./definition.ts";
import { anything, flag, initializer, inner, json, modifier, nullable, number, only } from "./fields.ts";

const affineFields = {
  epsilon: number(0.001),
  center: flag(true),
  scale: flag(true),
  beta_initializer: initializer("zeros"),
  gamma_initializer: initializer("ones"),
  beta_regularizer: modifier(),
  gamma_regularizer: modifier(),
  beta_constraint: modifier("constraints"),
  gamma_constraint: modifier("constraints"),
} as const;

/** One axis or several. */
const axes = () => json<number | readonly number[]>(-1);

function lengths(axis: number | readonly number[], input: Shape): number[] {
  return [axis].flat().map((one) => knownDim(input, one));
}

/** `LayerNormalization`: Keras 3 sorts the axes as they are given, Keras 2 leaves them. */
export const layerNormalization = defineLayer({
  className: "LayerNormalization",
  args: ["axis"],
  config: { axis: axes(), ...affineFields, rms_scaling: only("keras3", flag(false)) },
  variables: ({ config, input, flavor }) => {
    const listed = [config.axis].flat();
    const shape = lengths(flavor === "keras3" ? listed.sort((a, b) => a - b) : listed, input);
    const { rms_scaling: rms } = config;
    return [
      (config.scale || rms) && weight("gamma", shape, config.gamma_initializer),
      config.center && !rms && weight("beta", shape, config.beta_initializer),
    ];
  },
});

/** `GroupNormalization`. */
export const groupNormalization = defineLayer({
  className: "GroupNormalization",
  args: ["groups"],
  config: { groups: number(32), axis: number(-1), ...affineFields },
  variables: ({ config, input }) => {
    const shape = lengths(config.axis, input);
    return [
      config.scale && weight("gamma", shape, config.gamma_initializer),
      config.center && weight("beta", shape, config.beta_initializer),
    ];
  },
});

/** `RMSNormalization` (Keras 3). */
export const rmsNormalization = defineLayer({
  className: "RMSNormalization",
  flavors: ["keras3"],
  args: ["axis", "epsilon"],
  config: { axis: axes(), epsilon: number(1e-6) },
  variables: ({ config, input }) => [weight("scale", lengths(config.axis, input), parseInitializer("ones"))],
});

/** `UnitNormalization`. */
export const unitNormalization = defineLayer({
  className: "UnitNormalization",
  builtAtOnce: true,
  args: ["axis"],
  config: { axis: axes() },
});

/** `SpectralNormalization`: lists the inner layer's kernel as its own as well. */
export const spectralNormalization = defineLayer({
  className: "SpectralNormalization",
  args: ["layer"],
  config: { layer: inner(), power_iterations: number(1) },
  parts: ({ config }) => [
    {
      attr: "layer",
      value: config.layer,
      build: ({ input }) => {
        if (!config.layer.built) config.layer.build(input);
      },
    },
  ],
  variables: ({ config }) => {
    if (config.layer.boundFlavor === undefined || !config.layer.built) return [];
    const kernel = config.layer
      .ownVariables()
      .trainable.find(({ localName }) => localName === "kernel" || localName === "embeddings");
    if (kernel === undefined) return [];
    const start = parseInitializer({ class_name: "TruncatedNormal", config: { stddev: 0.02 } });
    return [
      { shared: kernel },
      weight("vector_u", [1, kernel.shape.at(-1) ?? 1], start, { dtype: kernel.dtype, trainable: false }),
    ];
  },
  outputShape: ({ config, input }) => config.layer.computeOutputShape(input),
});

/** `Normalization`: statistics of the data, unless given. */
export const normalization = defineLayer({
  className: "Normalization",
  args: ["axis"],
  config: {
    axis: nullable(json<number | readonly number[]>(-1)),
    mean: anything(),
    variance: anything(),
    invert: flag(false),
  },
  complete: (config) => ({ ...config, axis: config.axis === null ? [] : [config.axis].flat() }),
  variables: ({ config, input }) => {
    if (config.mean !== null) return [];
    const kept = [config.axis ?? []].flat().map((axis) => axisOf(axis, input.length));
    const shape = kept.sort((a, b) => a - b).map((axis) => knownDim(input, axis));
    return [
      weight("mean", shape, parseInitializer("zeros"), { trainable: false }),
      weight("variance", shape, parseInitializer("ones"), { trainable: false }),
      weight("count", [], parseInitializer("zeros"), { dtype: "int64", trainable: false }),
    ];
  },
});
