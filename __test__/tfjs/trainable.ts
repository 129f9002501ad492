// A small model that TensorFlow.js trains with each of its optimizers, and what Keras calls the state.
import { tf } from "./predictions.ts";
import { numbers, type Values } from "./zoo.ts";

/** A list of an optimizer's state in TensorFlow.js, and what Keras' values are of its. */
export type Slot = readonly [list: string, factor?: number];

/** An optimizer here and there. */
export interface OptimizerCase {
  readonly name: string;
  readonly optimizer: () => tf.Optimizer;
  readonly keras: {
    readonly className: string;
    readonly rate: number;
    readonly config: Readonly<Record<string, number | boolean>>;
    /** In rounds as Keras makes them: several lists in one round alternate. */
    readonly slots: readonly (readonly Slot[])[];
  };
  /** Whether both go the same step from the same state. */
  readonly same: boolean;
}

const row = (
  name: string,
  optimizer: () => tf.Optimizer,
  keras: OptimizerCase["keras"],
  same = true,
): OptimizerCase => ({ name, optimizer, keras, same });

export const optimizers: readonly OptimizerCase[] = [
  row("SGD", () => tf.train.sgd(0.05), { className: "SGD", rate: 0.05, config: { momentum: 0 }, slots: [] }),
  row("Momentum", () => tf.train.momentum(0.05, 0.8), {
    className: "SGD",
    rate: 0.05,
    config: { momentum: 0.8, nesterov: false },
    slots: [[["accumulations", -0.05]]],
  }),
  row("Nesterov", () => tf.train.momentum(0.05, 0.8, true), {
    className: "SGD",
    rate: 0.05,
    config: { momentum: 0.8, nesterov: true },
    slots: [[["accumulations", -0.05]]],
  }),
  row("Adam", () => tf.train.adam(0.02, 0.85, 0.99), {
    className: "Adam",
    rate: 0.02,
    config: { beta_1: 0.85, beta_2: 0.99, epsilon: 1e-7, amsgrad: false },
    slots: [[["accumulatedFirstMoment"], ["accumulatedSecondMoment"]]],
  }),
  row("Adamax", () => tf.train.adamax(0.02, 0.85, 0.99), {
    className: "Adamax",
    rate: 0.02,
    config: { beta_1: 0.85, beta_2: 0.99, epsilon: 1e-7 },
    slots: [[["accumulatedFirstMoment"], ["accumulatedWeightedInfNorm"]]],
  }),
  row("RMSProp", () => tf.train.rmsprop(0.01, 0.85), {
    className: "RMSprop",
    rate: 0.01,
    config: { rho: 0.85, momentum: 0, epsilon: 1e-7, centered: false },
    slots: [[["accumulatedMeanSquares"]]],
  }),
  row("RMSProp_momentum_centered", () => tf.train.rmsprop(0.01, 0.85, 0.5, 1e-10, true), {
    className: "RMSprop",
    rate: 0.01,
    config: { rho: 0.85, momentum: 0.5, epsilon: 1e-10, centered: true },
    slots: [[["accumulatedMeanSquares"]], [["accumulatedMoments"]], [["accumulatedMeanGrads"]]],
  }),
  row("Adagrad", () => tf.train.adagrad(0.05, 0.2), {
    className: "Adagrad",
    rate: 0.05,
    config: { initial_accumulator_value: 0.2, epsilon: 1e-7 },
    slots: [[["accumulatedGrads"]]],
  }),
  row(
    "Adadelta",
    () => tf.train.adadelta(0.5, 0.9, 1e-4),
    {
      className: "Adadelta",
      rate: 0.5,
      config: { rho: 0.9, epsilon: 1e-4 },
      slots: [[["accumulatedGrads"], ["accumulatedUpdates"]]],
    },
    false,
  ),
];

/** A model in training. */
export interface Trainable {
  readonly model: tf.LayersModel;
  readonly x: Values;
  readonly y: Values;
  /** Goes some steps; the loss before each. */
  steps(count: number): Promise<number[]>;
  /** The optimizer's state as Keras lists it. */
  state(slots: readonly (readonly Slot[])[]): number[][];
}

/** The layer in the middle is frozen: an optimizer keeps nothing for it. */
export function trainable(optimizer: tf.Optimizer): Trainable {
  const initializer = (seed: number): ReturnType<typeof tf.initializers.glorotUniform> =>
    tf.initializers.glorotUniform({ seed });
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ units: 4, activation: "tanh", inputShape: [5], kernelInitializer: initializer(1) }),
      tf.layers.dense({ units: 4, kernelInitializer: initializer(2), trainable: false }),
      tf.layers.dense({ units: 2, kernelInitializer: initializer(3) }),
    ],
  });
  model.compile({ optimizer, loss: "meanSquaredError", metrics: ["mae"] });
  const x = { shape: [8, 5], values: numbers(40, 3) };
  const y = { shape: [8, 2], values: numbers(16, 4) };
  const steps = async (count: number): Promise<number[]> => {
    const [inputs, targets] = [tf.tensor2d(x.values, [8, 5]), tf.tensor2d(y.values, [8, 2])];
    const losses: number[] = [];
    for (let step = 0; step < count; step += 1) {
      const loss = await model.trainOnBatch(inputs, targets);
      losses.push(Array.isArray(loss) ? loss[0]! : loss);
    }
    return losses;
  };
  const state = (slots: readonly (readonly Slot[])[]): number[][] => {
    const lists = optimizer as unknown as Readonly<Record<string, readonly { readonly variable: tf.Variable }[]>>;
    return slots.flatMap((round) =>
      [0, 1, 2, 3].flatMap((of) =>
        round.map(([list, factor = 1]) =>
          Array.from(lists[list]![of]!.variable.dataSync(), (value) => Math.fround(value * factor)),
        ),
      ),
    );
  };
  return { model, x, y, steps, state };
}
