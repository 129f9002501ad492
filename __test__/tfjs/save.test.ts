// The way back: models that TensorFlow.js made, saved for Keras. Here they come back into TensorFlow.js; the oracle's tests
// let Keras open them.
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { loadModel } from "../../ts/io/load_model.ts";
import { loadLayersModel } from "../../ts/tfjs/load.ts";
import { saveModel } from "../../ts/tfjs/save.ts";
import { getWeights } from "../../ts/tfjs/weights.ts";
import { tf } from "./predictions.ts";
import { fill, inputsOf, predicted, zoo } from "./zoo.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "keras-weights-tfjs-save-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const ways = (["keras2", "keras3"] as const).flatMap((flavor) =>
  (["keras", "h5"] as const).map((suffix) => ({ flavor, suffix })),
);

describe.each(ways)("$suffix of $flavor", ({ flavor, suffix }) => {
  it.each(zoo)("$name", async ({ name, make, refused, below }) => {
    const model = make();
    const file = join(folder, `${name}-${flavor}.${suffix}`);
    const reason = refused?.[flavor];
    if (reason !== undefined) {
      await expect(saveModel(model, file, { flavor })).rejects.toThrow(reason);
      return;
    }
    fill(model);
    await saveModel(model, file, { flavor });
    const again = await loadLayersModel(tf, file, { onNote: () => undefined });
    expect(getWeights(again, { flavor }).map(({ data }) => data)).toEqual(
      getWeights(model, { flavor }).map(({ data }) => data),
    );
    const inputs = inputsOf(model, below);
    expect(predicted(again, inputs)).toEqual(predicted(model, inputs));
  });
});

describe("saving", () => {
  const file = (name: string): string => join(folder, name);
  const dense = (): tf.Sequential =>
    tf.sequential({ layers: [tf.layers.dense({ units: 1, inputShape: [2], name: "d" })] });

  it("says all that Keras cannot do at once", async () => {
    const model = tf.sequential({
      layers: [
        tf.layers.lstm({ units: 2, inputShape: [3, 2], returnSequences: true, name: "recurrent" }),
        tf.layers.dense({ units: 2, activation: "hardSigmoid", name: "gated" }),
        tf.layers.reshape({ targetShape: [3, 2, 1] }),
        tf.layers.upSampling2d({ interpolation: "bilinear", name: "larger" }),
        tf.layers.resizing({ height: 2, width: 2, name: "smaller" }),
      ],
    });
    const error = await saveModel(model, file("all.keras")).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "ERR_WEIGHTS_UNSUPPORTED" });
    const lines = String(error).split("\n").slice(1);
    expect(lines.map((line) => /^ {2}(\w+) \((\w+)\)/u.exec(line)?.slice(1).join(" "))).toEqual([
      "recurrent LSTM",
      "gated Dense",
      "smaller Resizing",
      "larger UpSampling2D",
    ]);
    expect(existsSync(file("all.keras"))).toBe(false);
  });

  it.each([
    ["an optimizer with a decay", { optimizer: tf.train.adamax(0.1, 0.9, 0.999, 1e-7, 0.5) }],
    ["a loss that is a function", { optimizer: tf.train.sgd(0.1), loss: tf.losses.huberLoss }],
  ] as const)("refuses %s, unless it is left out", async (_what, compile) => {
    const model = dense();
    model.compile({ loss: "meanSquaredError", ...compile });
    await expect(saveModel(model, file("no.keras"))).rejects.toMatchObject({ code: "ERR_WEIGHTS_UNSUPPORTED" });
    await saveModel(model, file("no.keras"), { includeOptimizer: false });
    expect((await loadModel(file("no.keras"))).optimizer).toBeUndefined();
  });

  it("keeps what it was compiled with, and tells what it left out", async () => {
    const model = dense();
    const metrics = ["accuracy", "mae", (a: tf.Tensor, b: tf.Tensor): tf.Tensor => tf.sub(a, b)];
    model.compile({ optimizer: tf.train.adadelta(0.25, 0.9), loss: "logcosh", metrics });
    const notes: string[] = [];
    await saveModel(model, file("compiled.keras"), {
      onNote: ({ layer, message }) => notes.push(`${layer}: ${message}`),
    });
    expect(notes).toEqual([
      expect.stringMatching(/^the metrics: .* function/u),
      expect.stringMatching(/^the optimizer: /u),
    ]);
    const again = await loadModel(file("compiled.keras"));
    expect(again.optimizer?.className).toBe("Adadelta");
    expect(again.optimizer?.getConfig()).toMatchObject({ learning_rate: 0.25, rho: 0.9, epsilon: 1e-7 });
    expect(again.toJSON()["compile_config"]).toMatchObject({
      loss: "log_cosh",
      metrics: ["accuracy", "mean_absolute_error"],
    });
  });

  it("freezes in Keras what is frozen here", async () => {
    const base = tf.sequential({ layers: [tf.layers.dense({ units: 2, inputShape: [2] })], name: "base" });
    const model = tf.sequential({ layers: [base, tf.layers.dense({ units: 1 })] });
    base.trainable = false;
    await saveModel(model, file("frozen.keras"));
    const again = await loadModel(file("frozen.keras"));
    expect(again.weights.map(({ trainable }) => trainable)).toEqual([false, false, true, true]);
  });
});
