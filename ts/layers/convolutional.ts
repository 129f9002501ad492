import { fail } from "../model/failure.ts";
import { knownDim, type Dim } from "../model/shape.ts";
import { defineLayer, weight } from "./definition.ts";
import {
  activation,
  anything,
  flag,
  initializer,
  modifier,
  nullable,
  number,
  omitNull,
  only,
  perAxis,
  text,
} from "./fields.ts";
import { convolutionKernel, kernelWeights, withAlpha } from "./quantization.ts";
import { channelAxis, formatOf, needRank, spatial, windowLength, withSpatial } from "./shapes.ts";

function convolution(className: string, alias: string, rank: number) {
  return defineLayer({
    className,
    aliases: [alias],
    args: ["filters", "kernel_size", "strides", "padding"],
    config: {
      filters: number(),
      kernel_size: perAxis(rank),
      strides: perAxis(rank, 1),
      padding: text("valid"),
      data_format: text("channels_last"),
      dilation_rate: perAxis(rank, 1),
      groups: number(1),
      activation: activation(),
      use_bias: flag(true),
      kernel_initializer: initializer("glorot_uniform"),
      bias_initializer: initializer("zeros"),
      kernel_regularizer: modifier(),
      bias_regularizer: modifier(),
      activity_regularizer: modifier(),
      kernel_constraint: modifier("constraints"),
      bias_constraint: modifier("constraints"),
      lora_rank: only("keras3", omitNull("keras3", nullable(number()))),
      lora_alpha: only("keras3", omitNull("keras3", nullable(number()))),
      quantization_config: only("keras3", omitNull("keras3", anything())),
    },
    complete: withAlpha,
    kernel: ({ config, input }) => {
      const channels = knownDim(input, channelAxis(formatOf(config.data_format)));
      return convolutionKernel(
        [...config.kernel_size, channels / config.groups, config.filters],
        config.kernel_initializer,
      );
    },
    variables: ({ config, input, policy }) => {
      needRank(input, rank + 2, className);
      const channels = knownDim(input, channelAxis(formatOf(config.data_format)));
      if (channels % config.groups !== 0 || config.filters % config.groups !== 0) {
        fail(
          "ERR_WEIGHTS_SHAPE",
          `${className}: ${config.groups} groups divide neither ${channels} channels nor ${config.filters} filters`,
        );
      }
      const shape = [...config.kernel_size, channels / config.groups, config.filters];
      return kernelWeights(policy, config, convolutionKernel(shape, config.kernel_initializer), [
        config.use_bias && weight("bias", [config.filters], config.bias_initializer),
      ]);
    },
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      const dims = spatial(input, format).map((dim, i) =>
        windowLength(dim, config.kernel_size[i] ?? 1, config.strides[i] ?? 1, config.padding, config.dilation_rate[i]),
      );
      return withSpatial(input[0] ?? null, dims, config.filters, format);
    },
    converter: ({ config }) => ({
      dataFormat: config.data_format,
      filters: config.filters,
      kernelSize: [...config.kernel_size],
    }),
  });
}

/** `Conv1D`. */
export const conv1d = convolution("Conv1D", "Convolution1D", 1);
/** `Conv2D`. */
export const conv2d = convolution("Conv2D", "Convolution2D", 2);
/** `Conv3D`. */
export const conv3d = convolution("Conv3D", "Convolution3D", 3);

function transposed(className: string, alias: string, rank: number) {
  return defineLayer({
    className,
    aliases: [alias],
    args: ["filters", "kernel_size", "strides", "padding"],
    config: {
      filters: number(),
      kernel_size: perAxis(rank),
      strides: perAxis(rank, 1),
      padding: text("valid"),
      output_padding: nullable(perAxis(rank)),
      data_format: text("channels_last"),
      dilation_rate: rank === 3 ? only("keras3", perAxis(rank, 1)) : perAxis(rank, 1),
      groups: only("keras2", number(1)),
      activation: activation(),
      use_bias: flag(true),
      kernel_initializer: initializer("glorot_uniform"),
      bias_initializer: initializer("zeros"),
      kernel_regularizer: modifier(),
      bias_regularizer: modifier(),
      activity_regularizer: modifier(),
      kernel_constraint: modifier("constraints"),
      bias_constraint: modifier("constraints"),
    },
    variables: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const channels = knownDim(input, channelAxis(formatOf(config.data_format)));
      return [
        weight("kernel", [...config.kernel_size, config.filters, channels], config.kernel_initializer),
        config.use_bias && weight("bias", [config.filters], config.bias_initializer),
      ];
    },
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      const dims = spatial(input, format).map((dim, i) => {
        const reach = ((config.kernel_size[i] ?? 1) - 1) * (config.dilation_rate[i] ?? 1) + 1;
        return stretchedLength(dim, reach, config.strides[i] ?? 1, config.padding, config.output_padding?.[i]);
      });
      return withSpatial(input[0] ?? null, dims, config.filters, format);
    },
    converter: ({ config }) =>
      rank === 2
        ? { dataFormat: config.data_format, filters: config.filters, kernelSize: [...config.kernel_size] }
        : undefined,
  });
}

/** Output length of a transposed convolution, as Keras infers it when no output padding is given. */
function stretchedLength(length: Dim, reach: number, stride: number, padding: string, extra: number | undefined): Dim {
  if (length === null) return null;
  if (padding === "valid") return (length - 1) * stride + reach + (extra ?? Math.max(reach, stride) - reach);
  return extra === undefined ? length * stride : (length - 1) * stride + (reach % 2) + extra;
}

/** `Conv1DTranspose`. */
export const conv1dTranspose = transposed("Conv1DTranspose", "Convolution1DTranspose", 1);
/** `Conv2DTranspose`. */
export const conv2dTranspose = transposed("Conv2DTranspose", "Convolution2DTranspose", 2);
/** `Conv3DTranspose`. */
export const conv3dTranspose = transposed("Conv3DTranspose", "Convolution3DTranspose", 3);
