import { parseInitializer } from "../initializers.ts";
import { fail } from "../model/failure.ts";
import type { Layer } from "../model/layer.ts";
import { isShape, knownDim, type Dim, type Shape, type ShapeStructure } from "../model/shape.ts";
import { einsumDense } from "./core_einsum.ts";
import { softmax } from "./core.ts";
import { makePart } from "./declared.ts";
import { defineLayer, weight, type Part, type ShapeContext } from "./definition.ts";
import {
  anything,
  flag,
  initializer,
  json,
  modifier,
  nullable,
  number,
  only,
  text,
  type ConfigOf,
  type Fields,
} from "./fields.ts";
import { dropout } from "./regularization.ts";

const projectionFields = {
  dropout: number(0),
  use_bias: flag(true),
  kernel_initializer: initializer("glorot_uniform"),
  bias_initializer: initializer("zeros"),
  kernel_regularizer: modifier(),
  bias_regularizer: modifier(),
  activity_regularizer: modifier(),
  kernel_constraint: modifier("constraints"),
  bias_constraint: modifier("constraints"),
} as const;

type Projecting = ConfigOf<typeof projectionFields>;

/** A projection as an einsum: `free` axes stay, `bound` ones are summed over, `made` ones are new. */
function equationOf(free: number, bound: number, made: number): { equation: string; biasAxes: string } {
  const letters = (from: number, count: number): string =>
    String.fromCharCode(...Array.from({ length: count }, (_, i) => 97 + from + i));
  const kept = letters(0, free);
  const summed = letters(free, bound);
  const added = letters(free + bound, made);
  return { equation: `${kept}${summed},${summed}${added}->${kept}${added}`, biasAxes: added };
}

interface Projection {
  readonly name: string;
  readonly equation: string;
  readonly biasAxes: string;
  readonly output: readonly Dim[];
  readonly activation?: string;
}

function projection<F extends Fields>(
  context: ShapeContext<F>,
  { name, equation, biasAxes, output, activation }: Projection,
): Layer {
  const config = context.config as unknown as Projecting;
  return makePart(einsumDense, context, name, {
    equation,
    outputShape: output,
    biasAxes: config.use_bias ? biasAxes : null,
    activation: activation ?? null,
    kernelInitializer: config.kernel_initializer,
    biasInitializer: config.bias_initializer,
    kernelRegularizer: config.kernel_regularizer,
    biasRegularizer: config.bias_regularizer,
    kernelConstraint: config.kernel_constraint,
    biasConstraint: config.bias_constraint,
  });
}

/** A projection is built as it is called: Keras 2 then opens a scope of its name. */
function built<F extends Fields>(attr: string, alias: string | undefined, value: Layer, shape: Shape): Part<F> {
  return {
    attr,
    value,
    ...(alias !== undefined && { aliases: [alias] }),
    build: () => {
      value.buildCalled({ inputs: shape });
    },
  };
}

function shapeNamed<F extends Fields>({ shapes }: ShapeContext<F>, name: string, otherwise: Shape): Shape {
  const found = shapes[name];
  return found !== undefined && isShape(found) ? found : otherwise;
}

/** The unnamed helpers: Keras 3 gives them automatic names, Keras 2 the first of its own counting. */
function helpers<F extends Fields>(context: ShapeContext<F>, axis: number | readonly number[]): [Layer, Layer] {
  const [softmaxName = "softmax", dropoutName = "dropout"] = context.flavor === "keras3" ? context.innerNames : [];
  const config = context.config as unknown as Projecting;
  return [
    makePart(softmax, context, softmaxName, { axis }),
    makePart(dropout, context, dropoutName, { rate: config.dropout }),
  ];
}

/** `MultiHeadAttention`. */
export const multiHeadAttention = defineLayer({
  className: "MultiHeadAttention",
  args: ["num_heads", "key_dim", "value_dim"],
  config: {
    num_heads: number(),
    key_dim: number(),
    value_dim: nullable(number()),
    ...projectionFields,
    use_gate: only("keras3", flag(false)),
    output_shape: nullable(json<number | readonly number[]>()),
    attention_axes: nullable(json<number | readonly number[]>()),
    sliding_window: only("keras3", anything()),
    seed: only("keras3", anything()),
    query_shape: only("keras2", anything()),
    key_shape: only("keras2", anything()),
    value_shape: only("keras2", anything()),
    softmax_robust_masking: only("keras2", flag(false)),
  },
  callArguments: ["query", "value", "key"],
  builtInnerNames: ["Softmax", "Dropout"],
  complete: (config, flavor) => {
    const { value_dim: valueDim, key_dim: keyDim, output_shape: output } = config;
    const listed = typeof output === "number" && flavor !== "keras2" ? [output] : output;
    return { ...config, value_dim: valueDim ?? keyDim, output_shape: listed };
  },
  builtParts: (context) => {
    const { config, input: query, flavor } = context;
    const value = shapeNamed(context, "value", query);
    const key = shapeNamed(context, "key", value);
    const valueDim = config.value_dim ?? config.key_dim;
    const heads = (shape: Shape, name: string, size: number, activation?: string): Layer => {
      const { equation, biasAxes } = equationOf(shape.length - 1, 1, 2);
      const output = [...Array<null>(shape.length - 2).fill(null), config.num_heads, size];
      return projection(context, { name, equation, biasAxes, output, ...(activation !== undefined && { activation }) });
    };
    const last = config.output_shape === null ? [knownDim(query, -1)] : [config.output_shape].flat();
    const { equation, biasAxes } = equationOf(query.length - 1, 2, last.length);
    const output = projection(context, {
      name: "attention_output",
      equation,
      biasAxes,
      output: [...Array<null>(query.length - 2).fill(null), ...last],
    });
    const axes = config.attention_axes === null ? query.slice(2).map((_, i) => i + 1) : [config.attention_axes].flat();
    const scores = axes.map((_, i) => query.length + i);
    const [soft, drop] = helpers(context, scores.length === 1 ? (scores[0] ?? -1) : scores);
    const alias = (name: string): string | undefined => (flavor === "keras3" ? name : undefined);
    return [
      built("_query_dense", alias("query_dense"), heads(query, "query", config.key_dim), query),
      built("_key_dense", alias("key_dense"), heads(key, "key", config.key_dim), key),
      ...(config.use_gate ? [built("_gate_dense", undefined, heads(query, "gate", valueDim, "sigmoid"), query)] : []),
      built("_value_dense", alias("value_dense"), heads(value, "value", valueDim), value),
      built("_softmax", undefined, soft, query),
      built("_dropout_layer", undefined, drop, query),
      built("_output_dense", alias("output_dense"), output, [...query.slice(0, -1), config.num_heads, valueDim]),
    ];
  },
  outputShape: (context) => {
    const { config, input: query } = context;
    const last = config.output_shape === null ? [query.at(-1) ?? null] : [config.output_shape].flat();
    const output = [...query.slice(0, -1), ...last];
    if (context.keywords["return_attention_scores"] !== true) return output;
    const [batch = null, steps = null] = query;
    // Keras 3 says the query's length twice, whatever the key's is; Keras 2 has run the product.
    if (context.flavor === "keras3") return [output, [batch, config.num_heads, steps, steps]];
    const key = shapeNamed(context, "key", shapeNamed(context, "value", query));
    return [output, [batch, config.num_heads, ...query.slice(1, -1), ...key.slice(1, -1)]];
  },
});

/** `GroupQueryAttention` (Keras 3), of the Python class `GroupedQueryAttention`. */
export const groupQueryAttention = defineLayer({
  className: "GroupedQueryAttention",
  aliases: ["GroupQueryAttention"],
  flavors: ["keras3"],
  configName: "GroupQueryAttention",
  args: ["head_dim", "num_query_heads", "num_key_value_heads"],
  config: {
    head_dim: number(),
    num_query_heads: number(),
    num_key_value_heads: number(),
    ...projectionFields,
    use_gate: flag(false),
    sliding_window: anything(),
    seed: anything(),
  },
  callArguments: ["query", "value", "key"],
  builtInnerNames: ["Softmax", "Dropout"],
  builtParts: (context) => {
    const { config, input: query } = context;
    const value = shapeNamed(context, "value", query);
    const key = shapeNamed(context, "key", value);
    const { head_dim: size, num_query_heads: many, num_key_value_heads: few } = config;
    const toQuery = { equation: "bqm,muh->bquh", biasAxes: "uh", output: [null, many, size] };
    const toKey = { equation: "bkm,mvh->bkvh", biasAxes: "vh", output: [null, few, size] };
    const width = knownDim(query, -1);
    const [soft, drop] = helpers(context, -1);
    return [
      built("_query_dense", undefined, projection(context, { name: "query", ...toQuery }), query),
      built("_key_dense", undefined, projection(context, { name: "key", ...toKey }), key),
      ...(config.use_gate
        ? [
            built(
              "_gate_dense",
              undefined,
              projection(context, { name: "gate", ...toQuery, activation: "sigmoid" }),
              query,
            ),
          ]
        : []),
      built("_value_dense", undefined, projection(context, { name: "value", ...toKey }), value),
      { attr: "_softmax", value: soft },
      { attr: "_dropout_layer", value: drop },
      built(
        "_output_dense",
        undefined,
        projection(context, {
          name: "attention_output",
          equation: "bquh,uhm->bqm",
          biasAxes: "m",
          output: [null, width],
        }),
        [null, null, many, size],
      ),
    ];
  },
  outputShape: (context) => {
    const { config, input: query } = context;
    if (context.keywords["return_attention_scores"] !== true) return query;
    const key = shapeNamed(context, "key", shapeNamed(context, "value", query));
    return [query, [query[0] ?? null, config.num_query_heads, query[1] ?? null, key[1] ?? null]];
  },
});

function attended({ inputs, input, keywords }: ShapeContext<Fields>): ShapeStructure {
  const value = inputs[1] ?? fail("ERR_WEIGHTS_ARGUMENT", "attention takes a list of query and value, and perhaps key");
  const output = [...input.slice(0, -1), value.at(-1) ?? null];
  if (keywords["return_attention_scores"] !== true) return output;
  const key = inputs[2] ?? value;
  return [output, [input[0] ?? null, input[1] ?? null, key[1] ?? null]];
}

/** `Attention`. */
export const attention = defineLayer({
  className: "Attention",
  args: ["use_scale", "score_mode", "dropout"],
  config: { use_scale: flag(false), score_mode: text("dot"), dropout: number(0), seed: only("keras3", anything()) },
  variables: ({ config }) => [
    config.use_scale && weight("scale", [], parseInitializer("ones")),
    config.score_mode === "concat" && weight("concat_score_weight", [], parseInitializer("ones")),
  ],
  outputShape: (context) => attended(context),
});

/** `AdditiveAttention`. */
export const additiveAttention = defineLayer({
  className: "AdditiveAttention",
  args: ["use_scale", "dropout"],
  config: { use_scale: flag(true), dropout: number(0), seed: only("keras3", anything()) },
  variables: ({ config, input, inputs, flavor }) => {
    const dim = knownDim(flavor === "keras2" ? (inputs[1] ?? input) : input, -1);
    return [config.use_scale && weight("scale", [dim], parseInitializer("glorot_uniform"))];
  },
  outputShape: (context) => attended(context),
});
