// Asks TensorFlow.js (plain JavaScript, no native part) what a model with these weights sees in each picture.
import * as tf from "@tensorflow/tfjs";
import type { Model } from "keras-weights";

import type { Digits } from "./digits.ts";

// TensorFlow.js would print an advertisement of its native build at the first operation.
tf.env().set("IS_TEST", true);

export interface Evaluation {
  readonly predicted: Uint8Array;
  readonly correct: number;
  /** As Keras computes it: a float32. */
  readonly accuracy: number;
}

/** The same two layers in TensorFlow.js, given the weights that `model` has now. */
export function evaluate(model: Model, { images, labels }: Digits): Evaluation {
  const twin = tf.sequential({
    layers: [
      tf.layers.dense({ inputShape: [64], units: 64, activation: "relu" }),
      tf.layers.dense({ units: 10, activation: "softmax" }),
    ],
  });
  twin.setWeights(model.getWeights().map((weight) => tf.tensor(weight.toFloat32(), [...weight.shape])));

  const scores = twin.predict(tf.tensor2d(images, [labels.length, 64])) as tf.Tensor;
  const predicted = Uint8Array.from(scores.argMax(1).dataSync());
  const correct = predicted.filter((digit, index) => digit === labels[index]).length;
  return { predicted, correct, accuracy: Math.fround(correct / labels.length) };
}
