// A base that Keras trained on the digits 0 to 4 learns the digits 5 to 9 in Node: new head, base frozen, the best epoch
// kept in a file that Keras opens.
import * as tf from "@tensorflow/tfjs";
import {
  copyWeights,
  keepFrozenNormalization,
  loadLayersModel,
  loadWeights,
  modelCheckpoint,
  type CopyReport,
} from "keras-weights/tfjs";

import { dataFile, highHeldOut, highTraining, lowHeldOut, type Digits } from "./digits.ts";

/** What came out; counts are of held-out pictures. */
export interface Transfer {
  /** Digits 0 to 4 that the base gets right in TensorFlow.js. */
  readonly baseCorrect: number;
  readonly copied: CopyReport;
  /** Digits 5 to 9 right before any training: the new head knows nothing. */
  readonly correctBefore: number;
  /** Digits 5 to 9 right with the best epoch, loaded from its file into a fresh model. */
  readonly correctAfter: number;
  readonly total: number;
  /** Validation loss of each epoch, and the best as the checkpoint keeps it. */
  readonly losses: readonly number[];
  readonly best: number | undefined;
  /** Whether training left every weight of the base as it was. */
  readonly baseUnchanged: boolean;
}

function images({ images: pixels, labels }: Digits): tf.Tensor4D {
  return tf.tensor4d(pixels, [labels.length, 8, 8, 1]);
}

function correct(model: tf.LayersModel, digits: Digits): number {
  return tf.tidy(() => {
    const found = (model.predict(images(digits)) as tf.Tensor).argMax(-1).dataSync();
    return digits.labels.filter((label, index) => label === found[index]).length;
  });
}

/** The same layers as the base's, and a head with values of its own. */
function classifier(): tf.Sequential {
  const head = tf.initializers.glorotUniform({ seed: 7 });
  return tf.sequential({
    layers: [
      tf.layers.conv2d({ filters: 16, kernelSize: 3, activation: "relu", inputShape: [8, 8, 1], name: "strokes" }),
      tf.layers.batchNormalization({ name: "normalized" }),
      tf.layers.conv2d({ filters: 24, kernelSize: 3, activation: "relu", name: "shapes" }),
      tf.layers.flatten({ name: "flat" }),
      tf.layers.dense({ units: 5, activation: "softmax", kernelInitializer: head, name: "digits" }),
    ],
  });
}

/** Trains, and leaves the best weights in `best`, a path that ends in `.weights.h5`. */
export async function transfer(best: string): Promise<Transfer> {
  const base = await loadLayersModel(tf, dataFile("base.weights.h5"), { config: dataFile("base.json") });
  const baseCorrect = correct(base, lowHeldOut);

  const model = classifier();
  const layers = ["strokes", "normalized", "shapes"];
  const copied = copyWeights(base, model, { layers });
  for (const name of layers) model.getLayer(name).trainable = false;
  keepFrozenNormalization(model);
  const correctBefore = correct(model, highHeldOut);

  const before = layers.flatMap((name) =>
    model
      .getLayer(name)
      .getWeights()
      .map((weight) => weight.dataSync().slice()),
  );
  model.compile({ optimizer: tf.train.adam(0.005), loss: "categoricalCrossentropy" });
  const checkpoint = modelCheckpoint(tf, best, { saveWeightsOnly: true, saveBestOnly: true });
  const targets = tf.oneHot(tf.tensor1d(highTraining.labels, "int32"), 5);
  const { history } = await model.fit(images(highTraining), targets, {
    epochs: 8,
    batchSize: 32,
    validationSplit: 0.15,
    shuffle: false,
    callbacks: checkpoint,
  });
  const after = layers.flatMap((name) =>
    model
      .getLayer(name)
      .getWeights()
      .map((weight) => weight.dataSync()),
  );

  const again = classifier();
  await loadWeights(again, best);
  return {
    baseCorrect,
    copied,
    correctBefore,
    correctAfter: correct(again, highHeldOut),
    total: highHeldOut.labels.length,
    losses: history["val_loss"] as number[],
    best: checkpoint.checkpoint.best,
    baseUnchanged: before.every((values, index) => values.every((value, at) => value === after[index]?.[at])),
  };
}
