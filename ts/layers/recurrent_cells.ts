import { unitForgetBias } from "../initializers.ts";
import { knownDim } from "../model/shape.ts";
import { defineLayer, weight, type ShapeContext, type WeightSpec } from "./definition.ts";
import { activation, flag, initializer, modifier, nullable, number, only } from "./fields.ts";

/** Entries that all three cells and their layers share. */
export const cellFields = {
  units: number(),
  activation: activation("tanh"),
  use_bias: flag(true),
  kernel_initializer: initializer("glorot_uniform"),
  recurrent_initializer: initializer("orthogonal"),
  bias_initializer: initializer("zeros"),
  kernel_regularizer: modifier(),
  recurrent_regularizer: modifier(),
  bias_regularizer: modifier(),
  kernel_constraint: modifier(),
  recurrent_constraint: modifier(),
  bias_constraint: modifier(),
  dropout: number(0),
  recurrent_dropout: number(0),
  seed: only("keras3", nullable(number())),
} as const;

/** Entries of gated cells. */
export const gatedFields = { recurrent_activation: activation("sigmoid"), implementation: number(2) } as const;

type CellConfig = Pick<
  typeof cellFields,
  "units" | "use_bias" | "kernel_initializer" | "recurrent_initializer" | "bias_initializer"
>;

function kernels({ config, input }: ShapeContext<CellConfig>, gates: number): WeightSpec[] {
  const columns = gates * config.units;
  return [
    weight("kernel", [knownDim(input, -1), columns], config.kernel_initializer),
    weight("recurrent_kernel", [config.units, columns], config.recurrent_initializer),
  ];
}

/** `SimpleRNNCell`. */
export const simpleRnnCell = defineLayer({
  className: "SimpleRNNCell",
  args: ["units"],
  config: cellFields,
  variables: (context) => [
    ...kernels(context, 1),
    context.config.use_bias && weight("bias", [context.config.units], context.config.bias_initializer),
  ],
  outputShape: ({ config, input }) => {
    const state = [input[0] ?? null, config.units];
    return [state, [state]];
  },
});

/** `LSTMCell`: gates i, f, c, o. */
export const lstmCell = defineLayer({
  className: "LSTMCell",
  args: ["units"],
  config: { ...cellFields, ...gatedFields, unit_forget_bias: flag(true) },
  variables: (context) => {
    const { use_bias, unit_forget_bias, bias_initializer, units } = context.config;
    const start = unit_forget_bias ? unitForgetBias(bias_initializer) : bias_initializer;
    return [...kernels(context, 4), use_bias && weight("bias", [4 * units], start)];
  },
  outputShape: ({ config, input }) => {
    const state = [input[0] ?? null, config.units];
    return [state, [state, state]];
  },
});

/** `GRUCell`: gates z, r, h; with `reset_after` two rows of biases. */
export const gruCell = defineLayer({
  className: "GRUCell",
  args: ["units"],
  config: { ...cellFields, ...gatedFields, reset_after: flag(true) },
  variables: (context) => {
    const { use_bias, reset_after, bias_initializer, units } = context.config;
    const shape = reset_after ? [2, 3 * units] : [3 * units];
    return [...kernels(context, 3), use_bias && weight("bias", shape, bias_initializer)];
  },
  outputShape: ({ config, input }) => {
    const state = [input[0] ?? null, config.units];
    return [state, [state]];
  },
});
