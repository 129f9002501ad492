import { knownDim } from "../model/shape.ts";
import { defineLayer, weight } from "./definition.ts";
import { activation, flag, initializer, modifier, number, only, perAxis, text } from "./fields.ts";
import { channelAxis, channelsOf, formatOf, needRank, spatial, windowLength, withSpatial } from "./shapes.ts";

/** Entries that depthwise and separable convolutions share. */
function windowFields(rank: number) {
  return {
    kernel_size: perAxis(rank),
    strides: perAxis(rank, 1),
    padding: text("valid"),
    depth_multiplier: number(1),
    data_format: text("channels_last"),
    dilation_rate: perAxis(rank, 1),
    groups: only("keras2", number(1)),
    activation: activation(),
    use_bias: flag(true),
    depthwise_initializer: initializer("glorot_uniform"),
    bias_initializer: initializer("zeros"),
    depthwise_regularizer: modifier(),
    bias_regularizer: modifier(),
    activity_regularizer: modifier(),
    depthwise_constraint: modifier("constraints"),
    bias_constraint: modifier("constraints"),
  } as const;
}

function depthwise(className: string, rank: number) {
  return defineLayer({
    className,
    args: ["kernel_size", "strides", "padding"],
    config: windowFields(rank),
    variables: ({ config, input, flavor }) => {
      needRank(input, rank + 2, className);
      const channels = knownDim(input, channelAxis(formatOf(config.data_format)));
      const kernel = [...config.kernel_size, channels, config.depth_multiplier];
      return [
        weight(flavor === "keras2" ? "depthwise_kernel" : "kernel", kernel, config.depthwise_initializer),
        config.use_bias && weight("bias", [channels * config.depth_multiplier], config.bias_initializer),
      ];
    },
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      const dims = spatial(input, format).map((dim, i) =>
        windowLength(dim, config.kernel_size[i] ?? 1, config.strides[i] ?? 1, config.padding, config.dilation_rate[i]),
      );
      const channels = channelsOf(input, format);
      return withSpatial(input[0] ?? null, dims, channels === null ? null : channels * config.depth_multiplier, format);
    },
  });
}

function separable(className: string, alias: string, rank: number) {
  return defineLayer({
    className,
    aliases: [alias],
    args: ["filters", "kernel_size", "strides", "padding"],
    config: {
      filters: number(),
      ...windowFields(rank),
      pointwise_initializer: initializer("glorot_uniform"),
      pointwise_regularizer: modifier(),
      pointwise_constraint: modifier("constraints"),
      kernel_initializer: only("keras2", initializer("glorot_uniform")),
      kernel_regularizer: only("keras2", modifier()),
      kernel_constraint: only("keras2", modifier("constraints")),
    },
    variables: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const channels = knownDim(input, channelAxis(formatOf(config.data_format)));
      const deep = channels * config.depth_multiplier;
      const ones = Array<number>(rank).fill(1);
      return [
        weight(
          "depthwise_kernel",
          [...config.kernel_size, channels, config.depth_multiplier],
          config.depthwise_initializer,
        ),
        weight("pointwise_kernel", [...ones, deep, config.filters], config.pointwise_initializer),
        config.use_bias && weight("bias", [config.filters], config.bias_initializer),
      ];
    },
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      const dims = spatial(input, format).map((dim, i) =>
        windowLength(dim, config.kernel_size[i] ?? 1, config.strides[i] ?? 1, config.padding, config.dilation_rate[i]),
      );
      return withSpatial(input[0] ?? null, dims, config.filters, format);
    },
  });
}

/** `DepthwiseConv1D`: the kernel is named `depthwise_kernel` in Keras 2 and `kernel` in Keras 3. */
export const depthwiseConv1d = depthwise("DepthwiseConv1D", 1);
/** `DepthwiseConv2D`. */
export const depthwiseConv2d = depthwise("DepthwiseConv2D", 2);
/** `SeparableConv1D`. */
export const separableConv1d = separable("SeparableConv1D", "SeparableConvolution1D", 1);
/** `SeparableConv2D`. */
export const separableConv2d = separable("SeparableConv2D", "SeparableConvolution2D", 2);
