// Optimizers of TensorFlow.js as optimizers of Keras, with what training left in them.
import type { JsonObject } from "../config/json.ts";
import type { Flavor } from "../model/flavor.ts";
import type { Variable } from "../model/variable.ts";
import { Optimizer } from "../optimizers/optimizer.ts";
import { slotsOf } from "../optimizers/slots.ts";
import type { WeightPair } from "./pairs.ts";
import type { Problems } from "./problems.ts";
import type { TfTensorLike } from "./structural.ts";

/** An optimizer of TensorFlow.js. Each keeps its state in lists of its own, in the order of its first step. */
export interface TfOptimizerLike {
  readonly iterations: number;
  getClassName(): string;
  getConfig(): object;
}

interface TfSlot {
  /** Name of the model's variable, a slash, and a word for what is kept. */
  readonly originalName: string;
  readonly variable: TfTensorLike;
}

type Numbers = Readonly<Record<string, number | boolean | null | undefined>>;

/** How one of them is called in Keras. */
interface Row {
  readonly className: string;
  /** Options in Keras' names. */
  readonly config: (options: Numbers) => JsonObject;
  /** Keras 3's name of each slot, Keras 2's, the list of it in TensorFlow.js. */
  readonly slots: readonly (readonly [keras3: string, keras2: string, list: string])[];
  /** What each value is multiplied by. */
  readonly scale?: (options: Numbers) => number;
  /** Why it is another optimizer in Keras after all. */
  readonly problem?: (options: Numbers) => string | undefined;
  /** What is different though the state is the same. */
  readonly note?: (options: Numbers) => string | undefined;
}

/** What TensorFlow.js adds where an optimizer has no such option. */
const fixedEpsilon = 1e-7;

const number = (value: Numbers[string], fallback: number): number => (typeof value === "number" ? value : fallback);
const epsilonOf = ({ epsilon }: Numbers): number => number(epsilon, fixedEpsilon);

const table: Readonly<Record<string, Row>> = {
  SGD: { className: "SGD", config: () => ({ momentum: 0, nesterov: false }), slots: [] },
  Momentum: {
    className: "SGD",
    config: ({ momentum, useNesterov }) => ({ momentum: number(momentum, 0), nesterov: useNesterov === true }),
    slots: [["momentum", "m", "accumulations"]],
    // Keras sums up steps, TensorFlow.js gradients.
    scale: ({ learningRate }) => -number(learningRate, 0),
  },
  Adam: {
    className: "Adam",
    config: (options) => ({
      beta_1: number(options["beta1"], 0.9),
      beta_2: number(options["beta2"], 0.999),
      epsilon: epsilonOf(options),
      amsgrad: false,
    }),
    slots: [
      ["momentum", "m", "accumulatedFirstMoment"],
      ["velocity", "v", "accumulatedSecondMoment"],
    ],
  },
  Adamax: {
    className: "Adamax",
    config: (options) => ({
      beta_1: number(options["beta1"], 0.9),
      beta_2: number(options["beta2"], 0.999),
      epsilon: epsilonOf(options),
    }),
    slots: [
      ["momentum", "m", "accumulatedFirstMoment"],
      ["norm", "u", "accumulatedWeightedInfNorm"],
    ],
    problem: ({ decay }) =>
      number(decay, 0) === 0 ? undefined : "Keras' Adamax has no decay of the learning rate by steps",
  },
  RMSProp: {
    className: "RMSprop",
    config: (options) => ({
      rho: number(options["decay"], 0.9),
      momentum: number(options["momentum"], 0),
      epsilon: epsilonOf(options),
      centered: options["centered"] === true,
    }),
    slots: [
      ["velocity", "velocity", "accumulatedMeanSquares"],
      ["momentum", "momentum", "accumulatedMoments"],
      ["average_gradient", "average_gradient", "accumulatedMeanGrads"],
    ],
    note: ({ centered }) =>
      centered === true ? "a centered RMSProp takes epsilon away where Keras adds it" : undefined,
  },
  Adagrad: {
    className: "Adagrad",
    config: ({ initialAccumulatorValue }) => ({
      initial_accumulator_value: number(initialAccumulatorValue, 0.1),
      epsilon: fixedEpsilon,
    }),
    slots: [["accumulator", "accumulator", "accumulatedGrads"]],
  },
  Adadelta: {
    className: "Adadelta",
    config: (options) => ({ rho: number(options["rho"], 0.95), epsilon: epsilonOf(options) }),
    slots: [
      ["accumulated_grad", "accumulated_grad", "accumulatedGrads"],
      ["accumulated_delta_var", "accumulated_delta_var", "accumulatedUpdates"],
    ],
    note: () => "Keras divides by the mean of squared gradients after a step, TensorFlow.js by that from before it",
  },
};

/** A part of an optimizer that its class keeps to itself. */
function listOf(optimizer: TfOptimizerLike, name: string): readonly TfSlot[] {
  const list = (optimizer as unknown as Readonly<Record<string, unknown>>)[name];
  return Array.isArray(list) ? (list as TfSlot[]) : [];
}

/** `setMomentum` changes what `getConfig` says and not what is computed with. */
function optionsOf(optimizer: TfOptimizerLike): Numbers {
  const options = optimizer.getConfig() as Numbers;
  const { m } = optimizer as { m?: TfTensorLike };
  if (optimizer.getClassName() !== "Momentum" || m === undefined) return options;
  const used = m.dataSync()[0] ?? 0;
  return Math.fround(number(options["momentum"], 0)) === used ? options : { ...options, momentum: used };
}

/**
 * The optimizer of Keras that has the same state: iterations, learning rate, and what is kept for each weight that is
 * trained. Undefined when there is none; then the reason is among the problems.
 */
export async function kerasOptimizer(
  optimizer: TfOptimizerLike,
  flavor: Flavor,
  trained: readonly Variable[],
  pairs: readonly WeightPair[],
  problems: Problems,
): Promise<Optimizer | undefined> {
  const className = optimizer.getClassName();
  const row = table[className];
  const options = optionsOf(optimizer);
  const reason = row === undefined ? "Keras has no optimizer of this class" : row.problem?.(options);
  if (row === undefined || reason !== undefined) {
    problems.refuse("the optimizer", className, reason ?? "");
    return undefined;
  }
  const note = row.note?.(options);
  if (note !== undefined) problems.note("the optimizer", note);
  const legacy = flavor === "keras2" ? { is_legacy_optimizer: false } : {};
  const config = { learning_rate: number(options["learningRate"], 0), ...row.config(options), ...legacy };
  const made = new Optimizer({ class_name: row.className, config }, flavor);
  const { iterations } = optimizer;
  if (iterations === 0) return made;
  made.build(trained);
  const [counter] = made.ownVariables;
  counter?.replace(new BigInt64Array([BigInt(iterations)]));
  const byKeras = new Map(pairs.map((pair) => [pair.keras, pair.tf]));
  const slots = made.variables.slice(made.ownVariables.length);
  const kinds = slotsOf(made.family, made.className, made.getConfig(), trained);
  for (const [index, { slot, of }] of kinds.entries()) {
    const target = slots[index];
    const variable = of && byKeras.get(of);
    if (target === undefined || variable === undefined) continue;
    const list = row.slots.find((names) => names[flavor === "keras3" ? 0 : 1] === slot.name)?.[2] ?? "";
    const found = listOf(optimizer, list).find(({ originalName }) => isOf(originalName, variable.name));
    // A weight that was frozen until now has no state yet.
    if (found === undefined) target.read();
    else target.assign(scaled((await found.variable.data()) as Float32Array, row.scale?.(options)));
  }
  return made;
}

function isOf(slotName: string, variableName: string): boolean {
  return slotName.slice(0, slotName.lastIndexOf("/")) === variableName;
}

function scaled(values: Float32Array, factor: number | undefined): Float32Array {
  return factor === undefined ? values : values.map((value) => value * factor);
}
