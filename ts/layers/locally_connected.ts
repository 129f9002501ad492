import { fail } from "../model/failure.ts";
import { knownDim, shapeText } from "../model/shape.ts";
import { defineLayer, weight } from "./definition.ts";
import { activation, flag, initializer, modifier, number, perAxis, text } from "./fields.ts";
import { channelAxis, formatOf, needRank, spatial, windowLength, withSpatial } from "./shapes.ts";

/** Pairs of input and output places that a window joins along one axis: what the sparse kernel has entries for. */
function joinedPairs(length: number, size: number, stride: number, padding: string): number {
  const outputs = windowLength(length, size, stride, padding) ?? 0;
  const before = Math.floor(size / 2);
  let pairs = 0;
  for (let output = 0; output < outputs; output += 1) {
    const center = output * stride + (padding === "valid" ? before : 0);
    pairs += Math.min(length, center + size - before) - Math.max(0, center - before);
  }
  return pairs;
}

const multiply = (dims: readonly number[]): number => dims.reduce((product, dim) => product * dim, 1);

function locallyConnected(className: string, rank: number) {
  return defineLayer({
    className,
    flavors: ["keras2"],
    args: ["filters", "kernel_size", "strides", "padding"],
    config: {
      filters: number(),
      kernel_size: perAxis(rank),
      strides: perAxis(rank, 1),
      padding: text("valid"),
      data_format: text("channels_last"),
      activation: activation(),
      use_bias: flag(true),
      kernel_initializer: initializer("glorot_uniform"),
      bias_initializer: initializer("zeros"),
      kernel_regularizer: modifier(),
      bias_regularizer: modifier(),
      activity_regularizer: modifier(),
      kernel_constraint: modifier("constraints"),
      bias_constraint: modifier("constraints"),
      implementation: number(1),
    },
    variables: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const { kernel_size: sizes, strides, padding, filters } = config;
      const format = formatOf(config.data_format);
      const channels = knownDim(input, channelAxis(format));
      const lengths = spatial(input, format).map(
        (dim) => dim ?? fail("ERR_WEIGHTS_UNBUILT", `${className} needs a known input shape, not ${shapeText(input)}`),
      );
      const outputs = lengths.map((length, i) => windowLength(length, sizes[i] ?? 1, strides[i] ?? 1, padding) ?? 0);
      const first = format === "channels_first";
      const kernel =
        config.implementation === 1
          ? [multiply(outputs), multiply(sizes) * channels, filters]
          : config.implementation === 2
            ? first
              ? [channels, ...lengths, filters, ...outputs]
              : [...lengths, channels, ...outputs, filters]
            : [
                multiply(lengths.map((length, i) => joinedPairs(length, sizes[i] ?? 1, strides[i] ?? 1, padding))) *
                  channels *
                  filters,
              ];
      return [
        weight("kernel", kernel, config.kernel_initializer),
        config.use_bias && weight("bias", [...outputs, filters], config.bias_initializer),
      ];
    },
    outputShape: ({ config, input }) => {
      needRank(input, rank + 2, className);
      const format = formatOf(config.data_format);
      const dims = spatial(input, format).map((dim, i) =>
        windowLength(dim, config.kernel_size[i] ?? 1, config.strides[i] ?? 1, config.padding),
      );
      return withSpatial(input[0] ?? null, dims, config.filters, format);
    },
  });
}

/** `LocallyConnected1D` (Keras 2): a kernel for each place. */
export const locallyConnected1d = locallyConnected("LocallyConnected1D", 1);
/** `LocallyConnected2D` (Keras 2). */
export const locallyConnected2d = locallyConnected("LocallyConnected2D", 2);
