// Predictions of TensorFlow.js beside those that Keras recorded.
import * as tf from "@tensorflow/tfjs";
import { join } from "node:path";

import { numbersOf, readNpz, type NpyArray } from "../support/npz.ts";

// Its advice to install another package is no part of a test's output.
tf.env().set("IS_TEST", true);

export { tf };

function named(arrays: ReadonlyMap<string, NpyArray>, start: string): NpyArray[] {
  const names = [...arrays.keys()].filter((name) => name.startsWith(start)).sort();
  return names.map((name) => arrays.get(name)!);
}

/** Inputs of a model of the corpus, and what Keras predicted. */
export function recorded(folder: string): Record<"inputs" | "outputs", { shape: number[]; values: Float32Array }[]> {
  const arrays = readNpz(join(folder, "expected.npz"));
  const plain = (start: string): { shape: number[]; values: Float32Array }[] =>
    named(arrays, start).map((array) => ({ shape: [...array.shape], values: Float32Array.from(numbersOf(array)) }));
  return { inputs: plain("input"), outputs: plain("pred") };
}

/** The greatest difference of a prediction from the recorded one, of all outputs. */
export function predictionError(model: tf.LayersModel, folder: string): number {
  const arrays = readNpz(join(folder, "expected.npz"));
  const expected = named(arrays, "pred");
  const outputs = tf.tidy(() => {
    const inputs = named(arrays, "input").map((array, index) =>
      tf.tensor(numbersOf(array), [...array.shape], model.inputs[index]!.dtype),
    );
    const result = model.predict(inputs.length === 1 ? inputs[0]! : inputs);
    return (Array.isArray(result) ? result : [result]).map((tensor) => ({
      shape: [...tensor.shape],
      values: Array.from(tensor.dataSync()),
    }));
  });
  if (expected.length === 0 || outputs.length !== expected.length) throw new Error(`other outputs than in ${folder}`);
  const differences = outputs.flatMap(({ shape, values }, index) => {
    const wanted = expected[index]!;
    if (shape.join() !== wanted.shape.join()) throw new Error(`another shape than in ${folder}: ${shape.join()}`);
    const numbers = numbersOf(wanted);
    return values.map((value, at) => Math.abs(value - numbers[at]!));
  });
  // NaN must not hide behind a comparison.
  return differences.reduce((worst, one) => (one <= worst ? worst : one), 0);
}
