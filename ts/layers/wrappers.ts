import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import type { Layer } from "../model/layer.ts";
import { inScope, keras2Scope } from "../model/scope.ts";
import { isShape, type Shape, type ShapeStructure } from "../model/shape.ts";
import { cloneLayer } from "./declared.ts";
import { defineLayer, type Part, type ShapeContext } from "./definition.ts";
import { inner, innerList, nullable, text, type Fields } from "./fields.ts";

function directionName(direction: string, layer: Layer, flavor: Flavor): string {
  const bare =
    flavor === "keras3" && layer.name.startsWith(direction) ? layer.name.slice(direction.length) : layer.name;
  return direction + bare;
}

function directionPart<F extends Fields>(attr: string, layer: Layer): Part<F> {
  return {
    attr,
    value: layer,
    build: ({ input }: ShapeContext<F>) => {
      inScope(keras2Scope(layer.name), () => {
        layer.build(input);
      });
    },
  };
}

/** `Bidirectional`: two copies of a recurrent layer, one of them backwards. */
export const bidirectional = defineLayer({
  className: "Bidirectional",
  args: ["layer"],
  config: { layer: inner(), merge_mode: nullable(text("concat")), backward_layer: nullable(inner()) },
  callArguments: ["sequences", "initial_state"],
  parts: ({ config, flavor }) => {
    const { layer, backward_layer: backward } = config;
    layer.bindFlavor(flavor);
    backward?.bindFlavor(flavor);
    const given = configOf(layer);
    const zeros =
      flavor === "keras3" && "zero_output_for_mask" in given ? { zero_output_for_mask: given["return_sequences"] } : {};
    const forward = cloneLayer(layer, directionName("forward_", layer, flavor), zeros);
    const reversed = { ...zeros, go_backwards: given["go_backwards"] !== true };
    const other = backward ?? cloneLayer(layer, directionName("backward_", layer, flavor), reversed);
    const named = backward !== null && flavor === "keras2" ? cloneLayer(backward, `backward_${backward.name}`) : other;
    return [
      directionPart("forward_layer", forward),
      directionPart("backward_layer", named),
      { attr: "layer", value: layer, tracked: false, only: "keras2" },
    ];
  },
  outputShape: ({ config, input }) => {
    const whole = config.layer.computeOutputShape(input);
    const [sequence, ...states]: readonly ShapeStructure[] = isShape(whole)
      ? [whole]
      : (whole as readonly ShapeStructure[]);
    if (!isShape(sequence)) return fail("ERR_WEIGHTS_CONFIG", "the layer of Bidirectional must be a recurrent one");
    const joined: readonly Shape[] =
      config.merge_mode === null
        ? [sequence, sequence]
        : [config.merge_mode === "concat" ? doubled(sequence) : sequence];
    const all: readonly ShapeStructure[] = [...joined, ...states, ...states];
    return all.length === 1 ? (all[0] ?? sequence) : all;
  },
  written: (entries, parts, writer) => {
    const forward = parts.get("forward_layer");
    const backward = parts.get("backward_layer");
    if (writer.flavor === "keras2" || forward === undefined || backward === undefined) {
      const { backward_layer: custom, ...rest } = entries;
      return custom === null || custom === undefined ? rest : entries;
    }
    return { ...entries, layer: writer.layer(forward), backward_layer: writer.layer(backward) };
  },
});

function configOf(layer: Layer): Readonly<Record<string, unknown>> {
  return "config" in layer ? (layer.config as Readonly<Record<string, unknown>>) : {};
}

function doubled(shape: Shape): Shape {
  const last = shape.at(-1) ?? null;
  return [...shape.slice(0, -1), last === null ? null : 2 * last];
}

/** `Pipeline` (Keras 3): layers one after another that are no model. */
export const pipeline = defineLayer({
  className: "Pipeline",
  flavors: ["keras3"],
  args: ["layers"],
  nameOnly: true,
  config: { layers: innerList() },
  parts: ({ config }) => [
    {
      attr: "layers",
      aliases: ["_pipeline_layers"],
      value: config.layers,
      build: ({ input }) => {
        let shape: ShapeStructure = input;
        for (const layer of config.layers) {
          if (!layer.built) layer.build(shape);
          shape = layer.computeOutputShape(shape);
        }
      },
    },
  ],
  outputShape: ({ config, input }) =>
    config.layers.reduce<ShapeStructure>((shape, layer) => layer.computeOutputShape(shape), input),
});

/** `TimeDistributed`: one layer for each step. */
export const timeDistributed = defineLayer({
  className: "TimeDistributed",
  args: ["layer"],
  config: { layer: inner() },
  parts: ({ config }) => [
    {
      attr: "layer",
      value: config.layer,
      build: ({ input }) => {
        const [batch = null, , ...rest] = input;
        if (!config.layer.built) config.layer.build([batch, ...rest]);
      },
    },
  ],
  outputShape: ({ config, input }) => {
    const [batch = null, steps = null, ...rest] = input;
    const output = config.layer.computeOutputShape([batch, ...rest]);
    const spread = (shape: ShapeStructure): ShapeStructure =>
      isShape(shape) ? [shape[0] ?? null, steps, ...shape.slice(1)] : (shape as readonly ShapeStructure[]).map(spread);
    return spread(output);
  },
});
