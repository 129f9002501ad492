import { unitForgetBias } from "../initializers.ts";
import type { Layer } from "../model/layer.ts";
import { knownDim, type Shape } from "../model/shape.ts";
import { DeclaredLayer } from "./declared.ts";
import { defineLayer, weight, type Part, type ShapeContext } from "./definition.ts";
import {
  activation,
  flag,
  initializer,
  modifier,
  nullable,
  number,
  only,
  otherwiseIn,
  perAxis,
  text,
  type ConfigOf,
  type Fields,
} from "./fields.ts";
import { sequenceFields } from "./recurrent.ts";
import { channelAxis, formatOf, spatial, windowLength, withSpatial } from "./shapes.ts";

function cellFields(rank: number) {
  return {
    filters: number(),
    kernel_size: perAxis(rank),
    strides: perAxis(rank, 1),
    padding: text("valid"),
    data_format: text("channels_last"),
    dilation_rate: perAxis(rank, 1),
    activation: activation("tanh"),
    recurrent_activation: otherwiseIn("keras2", "hard_sigmoid", activation("sigmoid")),
    use_bias: flag(true),
    kernel_initializer: initializer("glorot_uniform"),
    recurrent_initializer: initializer("orthogonal"),
    bias_initializer: initializer("zeros"),
    unit_forget_bias: flag(true),
    kernel_regularizer: modifier(),
    recurrent_regularizer: modifier(),
    bias_regularizer: modifier(),
    kernel_constraint: modifier("constraints"),
    recurrent_constraint: modifier("constraints"),
    bias_constraint: modifier("constraints"),
    dropout: number(0),
    recurrent_dropout: number(0),
    seed: only("keras3", nullable(number())),
  } as const;
}

function stepShape(config: ConfigOf<ReturnType<typeof cellFields>>, step: Shape): Shape {
  const format = formatOf(config.data_format);
  const dims = spatial(step, format).map((dim, i) =>
    windowLength(dim, config.kernel_size[i] ?? 1, config.strides[i] ?? 1, config.padding, config.dilation_rate[i]),
  );
  return withSpatial(step[0] ?? null, dims, config.filters, format);
}

function cell(rank: number) {
  return defineLayer({
    className: "ConvLSTMCell",
    config: cellFields(rank),
    variables: ({ config, input }) => {
      const channels = knownDim(input, channelAxis(formatOf(config.data_format)));
      const gates = 4 * config.filters;
      const start = config.unit_forget_bias ? unitForgetBias(config.bias_initializer) : config.bias_initializer;
      return [
        weight("kernel", [...config.kernel_size, channels, gates], config.kernel_initializer),
        weight("recurrent_kernel", [...config.kernel_size, config.filters, gates], config.recurrent_initializer),
        config.use_bias && weight("bias", [gates], start),
      ];
    },
    outputShape: ({ config, input }) => stepShape(config, input),
  });
}

function convLstm(className: string, rank: number) {
  const cellDefinition = cell(rank);
  return defineLayer({
    className,
    args: ["filters", "kernel_size", "strides", "padding"],
    config: {
      ...sequenceFields,
      ...cellFields(rank),
      activity_regularizer: modifier(),
      time_major: only("keras2", flag(false)),
    },
    callArguments: ["sequences", "initial_state"],
    parts: (context) => {
      const { config, flavor, policy } = context;
      const own = Object.fromEntries(
        Object.keys(cellDefinition.config).map((key) => [key, config[key as keyof typeof config]]),
      );
      const made = new DeclaredLayer(cellDefinition, own as ConfigOf<typeof cellDefinition.config>, {
        name: "conv_lstm_cell",
        flavor,
        dtype: policy.source ?? policy.name,
      });
      return [stepPart(made)];
    },
    outputShape: ({ config, input }) => {
      const [batch = null, steps = null, ...rest] = input;
      const state = stepShape(config, [batch, ...rest]);
      const sequence: Shape = config.return_sequences ? [batch, steps, ...state.slice(1)] : state;
      return config.return_state ? [sequence, state, state] : sequence;
    },
    converter: ({ config }) =>
      className === "ConvLSTM2D"
        ? { dataFormat: config.data_format, filters: config.filters, kernelSize: [...config.kernel_size] }
        : undefined,
  });
}

/** The cell; no scope of its name is opened, not even in Keras 2. */
function stepPart<F extends Fields>(made: Layer): Part<F> {
  return {
    attr: "cell",
    value: made,
    build: ({ input }: ShapeContext<F>) => {
      const [batch = null, , ...rest] = input;
      if (!made.built) made.build([batch, ...rest]);
    },
  };
}

/** `ConvLSTM1D`. */
export const convLstm1d = convLstm("ConvLSTM1D", 1);
/** `ConvLSTM2D`. */
export const convLstm2d = convLstm("ConvLSTM2D", 2);
/** `ConvLSTM3D`. */
export const convLstm3d = convLstm("ConvLSTM3D", 3);
