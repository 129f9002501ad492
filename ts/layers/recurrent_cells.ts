import { unitForgetBias } from "../initializers.ts";
import { fail } from "../model/failure.ts";
import type { Layer } from "../model/layer.ts";
import { inScope, keras2Scope } from "../model/scope.ts";
import { knownDim } from "../model/shape.ts";
import { defineLayer, weight, type ShapeContext, type WeightSpec } from "./definition.ts";
import { activation, flag, initializer, innerList, modifier, nullable, number, only } from "./fields.ts";

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
  kernel_constraint: modifier("constraints"),
  recurrent_constraint: modifier("constraints"),
  bias_constraint: modifier("constraints"),
  dropout: number(0),
  recurrent_dropout: number(0),
} as const;

const seed = only("keras3", nullable(number()));

/** Entries of gated cells. */
export const gatedFields = {
  recurrent_activation: activation("sigmoid"),
  implementation: only("keras2", number(2)),
  seed,
} as const;

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

/** Keras cannot use the fused form with a recurrent dropout. */
export function withoutFusion<C extends { readonly recurrent_dropout: number; readonly implementation: number }>(
  config: C,
): C {
  return config.recurrent_dropout === 0 ? config : { ...config, implementation: 1 };
}

/** `SimpleRNNCell`. */
export const simpleRnnCell = defineLayer({
  className: "SimpleRNNCell",
  args: ["units"],
  config: { ...cellFields, seed },
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
  complete: withoutFusion,
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
  complete: withoutFusion,
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

/** `StackedRNNCells`: each cell takes the output of the one before. */
export const stackedRnnCells = defineLayer({
  className: "StackedRNNCells",
  args: ["cells"],
  config: { cells: innerList() },
  parts: ({ config }) => [
    {
      attr: "cells",
      value: config.cells,
      build: ({ input }) => {
        const [batch = null] = input;
        let shape = input;
        for (const cell of config.cells) {
          const step = shape;
          inScope(keras2Scope(cell.name), () => {
            if (!cell.built) cell.build(step);
          });
          shape = [batch, cellSizes(cell).output];
        }
      },
    },
  ],
  outputShape: ({ config, input }) => {
    const [batch = null] = input;
    return [batch, config.cells.reduce((_, cell) => cellSizes(cell).output, 0)];
  },
});

/** What a recurrent layer must know of its cell. */
export interface CellSizes {
  readonly output: number;
  /** A size for each state, or a list of them for each cell of a stack. */
  readonly states: readonly (number | readonly number[])[];
  /** Whether the cell says its states as a list. */
  readonly listed: boolean;
}

/** Sizes of a cell: of Keras' own, or those that a custom cell tells by `stateSize` and `outputSize`. */
export function cellSizes(cell: Layer): CellSizes {
  const config = "config" in cell ? (cell.config as Readonly<Record<string, unknown>>) : {};
  const { units, cells } = config;
  if (Array.isArray(cells)) {
    const sizes = (cells as readonly Layer[]).map(cellSizes);
    const states = sizes.map(({ states: own, listed }) => (listed ? own.flat() : (own.flat()[0] ?? 0)));
    return { output: sizes.at(-1)?.output ?? 0, states, listed: true };
  }
  if (typeof units === "number") {
    const two = cell.className === "LSTMCell";
    return { output: units, states: two ? [units, units] : [units], listed: two };
  }
  const { stateSize, outputSize } = cell as { stateSize?: unknown; outputSize?: unknown };
  const states = [stateSize].flat().filter((size) => typeof size === "number");
  const output = typeof outputSize === "number" ? outputSize : states[0];
  if (output !== undefined) return { output, states, listed: Array.isArray(stateSize) };
  return fail("ERR_WEIGHTS_CONFIG", `the cell "${cell.name}" does not tell its stateSize`, { layer: cell.name });
}
