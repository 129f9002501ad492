import type { Layer } from "../model/layer.ts";
import { inScope, keras2Scope } from "../model/scope.ts";
import type { Shape, ShapeStructure } from "../model/shape.ts";
import { DeclaredLayer } from "./declared.ts";
import { defineLayer, type LayerContext, type LayerDefinition, type Part, type ShapeContext } from "./definition.ts";
import { flag, modifier, only, omitNull, type ConfigOf, type Fields } from "./fields.ts";
import { cellFields, gatedFields, gruCell, lstmCell, simpleRnnCell } from "./recurrent_cells.ts";

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
  activity_regularizer: omitNull("keras3", modifier()),
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
  parts: (context) => [cellPart(ownCell(gruCell, "gru_cell", context))],
  outputShape: ({ input, config }) => sequenceShapes(input, config, config.units, [config.units]),
  converter: ({ config }) => ({ resetAfter: config.reset_after }),
});
