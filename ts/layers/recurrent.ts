import type { Layer } from "../model/layer.ts";
import { inScope, keras2Scope } from "../model/scope.ts";
import { knownDim, type Shape, type ShapeStructure } from "../model/shape.ts";
import { DeclaredLayer, make } from "./declared.ts";
import {
  defineLayer,
  weight,
  type LayerContext,
  type LayerDefinition,
  type Part,
  type ShapeContext,
} from "./definition.ts";
import {
  flag,
  initializer,
  inner,
  innerList,
  modifier,
  number,
  only,
  type ConfigOf,
  type Field,
  type Fields,
} from "./fields.ts";
import {
  cellFields,
  cellSizes,
  gatedFields,
  gruCell,
  lstmCell,
  simpleRnnCell,
  stackedRnnCells,
  withoutFusion,
} from "./recurrent_cells.ts";

/** Entries of every recurrent layer. */
export const sequenceFields = {
  return_sequences: flag(false),
  return_state: flag(false),
  go_backwards: flag(false),
  stateful: flag(false),
  unroll: flag(false),
  zero_output_for_mask: only("keras3", flag(false)),
} as const;

const wholeFields = {
  ...sequenceFields,
  activity_regularizer: modifier(),
  time_major: only("keras2", flag(false)),
} as const;

/** Shapes that a recurrent layer gives: the output, then its states if asked for. */
export function sequenceShapes(
  input: Shape,
  config: Pick<ConfigOf<typeof sequenceFields>, "return_sequences" | "return_state">,
  output: number,
  states: readonly (number | readonly number[])[],
): ShapeStructure {
  const [batch = null, steps = null] = input;
  const sequence: Shape = config.return_sequences ? [batch, steps, output] : [batch, output];
  if (!config.return_state) return sequence;
  const stateShapes = states.map((size): ShapeStructure =>
    typeof size === "number" ? [batch, size] : size.map((inner) => [batch, inner]),
  );
  return [sequence, ...stateShapes];
}

/** The cell inside a recurrent layer; Keras 2 opens a scope of its name while it is built. */
export function cellPart<F extends Fields>(cell: Layer): Part<F> {
  return {
    attr: "cell",
    value: cell,
    build: ({ input }: ShapeContext<F>) => {
      const [batch = null, , ...rest] = input;
      inScope(keras2Scope(cell.name), () => {
        if (!cell.built) cell.build([batch, ...rest]);
      });
    },
  };
}

/** Makes the cell of a recurrent layer from the layer's own config. */
function ownCell<F extends Fields>(definition: LayerDefinition<F>, name: string, context: LayerContext<Fields>): Layer {
  const config = Object.fromEntries(
    Object.entries(definition.config).map(([key, entry]) => [key, context.config[key] ?? entry.fallback]),
  ) as ConfigOf<F>;
  const { flavor, policy } = context;
  return new DeclaredLayer(definition, config, { name, flavor, dtype: policy.source ?? policy.name });
}

/** `SimpleRNN`. */
export const simpleRnn = defineLayer({
  className: "SimpleRNN",
  args: ["units"],
  config: { ...wholeFields, ...cellFields },
  callArguments: ["sequences", "initial_state"],
  parts: (context) => [cellPart(ownCell(simpleRnnCell, "simple_rnn_cell", context))],
  outputShape: ({ input, config }) => sequenceShapes(input, config, config.units, [config.units]),
});

/** `LSTM`. */
export const lstm = defineLayer({
  className: "LSTM",
  args: ["units"],
  config: {
    ...wholeFields,
    ...cellFields,
    ...gatedFields,
    unit_forget_bias: flag(true),
    time_major: only("keras2", flag(false)),
  },
  callArguments: ["sequences", "initial_state"],
  complete: withoutFusion,
  parts: (context) => [cellPart(ownCell(lstmCell, "lstm_cell", context))],
  outputShape: ({ input, config }) => sequenceShapes(input, config, config.units, [config.units, config.units]),
});

/** `GRU`. */
export const gru = defineLayer({
  className: "GRU",
  args: ["units"],
  config: {
    ...wholeFields,
    ...cellFields,
    ...gatedFields,
    reset_after: flag(true),
    time_major: only("keras2", flag(false)),
  },
  callArguments: ["sequences", "initial_state"],
  complete: withoutFusion,
  parts: (context) => [cellPart(ownCell(gruCell, "gru_cell", context))],
  outputShape: ({ input, config }) => sequenceShapes(input, config, config.units, [config.units]),
  converter: ({ config }) => ({ resetAfter: config.reset_after }),
});

/** `RNN`: any cell, or a list of them as one stack. */
export const rnn = defineLayer({
  className: "RNN",
  args: ["cell"],
  config: { ...sequenceFields, cell: cellOrCells(), time_major: only("keras2", flag(false)) },
  callArguments: ["sequences", "initial_state"],
  parts: ({ config }) => [cellPart(config.cell)],
  outputShape: ({ input, config }) => {
    const { output, states } = cellSizes(config.cell);
    return sequenceShapes(input, config, output, states);
  },
});

/** A cell; a list of cells becomes a stack. */
function cellOrCells(): Field<Layer | readonly Layer[], Layer> {
  const one = inner();
  const many = innerList();
  return {
    read: (value, reader, key) => {
      if (!Array.isArray(value)) return one.read(value as Layer, reader, key);
      return make(stackedRnnCells, { cells: many.read(value as readonly Layer[], reader, key), flavor: reader.flavor });
    },
    write: (value, writer) => one.write(value, writer),
  };
}

function cudnn(className: string, gates: 3 | 4) {
  const forget = gates === 4 ? { unit_forget_bias: flag(true) } : {};
  return defineLayer({
    className,
    flavors: ["keras2"],
    args: ["units"],
    config: {
      return_sequences: flag(false),
      return_state: flag(false),
      go_backwards: flag(false),
      stateful: flag(false),
      time_major: flag(false),
      units: number(),
      kernel_initializer: initializer("glorot_uniform"),
      recurrent_initializer: initializer("orthogonal"),
      bias_initializer: initializer("zeros"),
      ...forget,
      kernel_regularizer: modifier(),
      recurrent_regularizer: modifier(),
      bias_regularizer: modifier(),
      activity_regularizer: modifier(),
      kernel_constraint: modifier("constraints"),
      recurrent_constraint: modifier("constraints"),
      bias_constraint: modifier("constraints"),
    },
    callArguments: ["inputs", "initial_state"],
    // cuDNN keeps two biases for each gate, one after the other.
    variables: ({ config, input }) => [
      weight("kernel", [knownDim(input, -1), gates * config.units], config.kernel_initializer),
      weight("recurrent_kernel", [config.units, gates * config.units], config.recurrent_initializer),
      weight("bias", [2 * gates * config.units], config.bias_initializer),
    ],
    outputShape: ({ input, config }) =>
      sequenceShapes(input, config, config.units, gates === 4 ? [config.units, config.units] : [config.units]),
  });
}

/** `CuDNNLSTM` (Keras 2). */
export const cudnnLstm = cudnn("CuDNNLSTM", 4);
/** `CuDNNGRU` (Keras 2). */
export const cudnnGru = cudnn("CuDNNGRU", 3);
