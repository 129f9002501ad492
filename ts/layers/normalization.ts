import { axisOf, knownDim } from "../model/shape.ts";
import type { Flavor } from "../model/flavor.ts";
import type { DTypePolicy } from "../model/dtype_policy.ts";
import type { DType } from "../tensor.ts";
import { defineLayer, weight } from "./definition.ts";
import { flag, initializer, json, modifier, nullable, number, only } from "./fields.ts";

/** Keras 2 keeps the statistics of half-precision layers in float32. */
function statisticsDtype(policy: DTypePolicy, flavor: Flavor): DType | undefined {
  const half = policy.variable === "float16" || policy.variable === "bfloat16";
  return flavor === "keras2" && half ? "float32" : undefined;
}

/** `BatchNormalization`. */
export const batchNormalization = defineLayer({
  className: "BatchNormalization",
  aliases: ["BatchNormalizationV1", "BatchNormalizationV2"],
  args: ["axis"],
  config: {
    axis: json<number | readonly number[]>(-1),
    momentum: number(0.99),
    epsilon: number(0.001),
    center: flag(true),
    scale: flag(true),
    beta_initializer: initializer("zeros"),
    gamma_initializer: initializer("ones"),
    moving_mean_initializer: initializer("zeros"),
    moving_variance_initializer: initializer("ones"),
    beta_regularizer: modifier(),
    gamma_regularizer: modifier(),
    beta_constraint: modifier("constraints"),
    gamma_constraint: modifier("constraints"),
    synchronized: only("keras3", flag(false)),
    renorm: only("keras3", flag(false)),
    renorm_clipping: only("keras3", nullable(json())),
    renorm_momentum: only("keras3", number(0.99)),
  },
  complete: (config) => ({
    ...config,
    renorm_clipping: config.renorm ? (config.renorm_clipping ?? {}) : config.renorm_clipping,
  }),
  variables: ({ config, input, policy, flavor }) => {
    const axes = typeof config.axis === "number" ? [config.axis] : config.axis;
    const front = axes.map((axis) => axisOf(axis, input.length));
    const shape =
      front.length === 1
        ? [knownDim(input, front[0] ?? -1)]
        : input.map((_, axis) => (front.includes(axis) ? knownDim(input, axis) : 1));
    const dtype = statisticsDtype(policy, flavor);
    const fixed = { dtype, trainable: false };
    return [
      config.scale && weight("gamma", shape, config.gamma_initializer, { dtype }),
      config.center && weight("beta", shape, config.beta_initializer, { dtype }),
      weight("moving_mean", shape, config.moving_mean_initializer, fixed),
      weight("moving_variance", shape, config.moving_variance_initializer, fixed),
      config.renorm && weight("moving_stddev", shape, config.moving_variance_initializer, fixed),
      config.renorm && weight("renorm_mean", shape, config.moving_mean_initializer, fixed),
      config.renorm && weight("renorm_stddev", shape, config.moving_variance_initializer, fixed),
    ];
  },
});

/** `SyncBatchNormalization` (Keras 2): the same weights. */
export const syncBatchNormalization = defineLayer({
  ...batchNormalization,
  className: "SyncBatchNormalization",
  aliases: [],
  flavors: ["keras2"],
});
