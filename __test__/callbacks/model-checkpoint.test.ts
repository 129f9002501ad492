// Every case of Keras' own ModelCheckpoint, as it was recorded from both flavours.
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import {
  ModelCheckpoint,
  type CheckpointModel,
  type ModelCheckpointOptions,
} from "../../ts/callbacks/model-checkpoint.ts";
import { isWeightsError } from "../../ts/errors.ts";

interface Trace {
  readonly path: string;
  readonly kwargs: Readonly<Record<string, unknown>>;
  readonly logs: readonly Readonly<Record<string, unknown>>[];
  readonly best?: number | null;
  readonly exception?: readonly [type: string, message: string];
  readonly saved: readonly (readonly [what: string, detail: string | number])[];
  readonly stdout: string;
  readonly warnings: readonly string[];
  readonly log: readonly string[];
}

/** Python writes NaN and Infinity into JSON, which JavaScript does not read. */
function traces(keras: string): Record<string, Trace> {
  const path = new URL(`../fixtures/_checkpoint_callback/${keras}.json`, import.meta.url);
  const text = readFileSync(path, "utf8").replaceAll(/(?<=[:[] ?|^\s*)(-?Infinity|NaN)(?=,?$)/gmu, '"$1"');
  return JSON.parse(text, (_key, value: unknown) => {
    if (value === "NaN" || value === "Infinity" || value === "-Infinity") return Number(value);
    // How numpy prints the array that one case logs.
    return value === "[1. 2.]" ? [1, 2] : value;
  }) as Record<string, Trace>;
}

// Where Keras itself fails, with what we do instead. docs/compatibility.md has the same list.
const kerasFails: Readonly<Record<string, Partial<Trace>>> = {
  // TypeError: Keras 3 looks for the direction of the metric only at the end of the first epoch.
  "keras3 freq_best_batches": {
    best: 0.7,
    saved: [
      ["save_weights", "w.weights.h5"],
      ["save_weights", "w.weights.h5"],
      ["epoch_end", 0],
      ["epoch_end", 1],
    ],
    stdout: [
      "\nEpoch 1: loss improved from None to 0.90000, saving model to <T>/w.weights.h5\n",
      "\nEpoch 1: finished saving model to <T>/w.weights.h5\n",
      "\nEpoch 1: loss improved from 0.90000 to 0.70000, saving model to <T>/w.weights.h5\n",
      "\nEpoch 1: finished saving model to <T>/w.weights.h5\n",
      "\nEpoch 2: loss did not improve from 0.70000\n",
      "\nEpoch 2: loss did not improve from 0.70000\n",
    ].join(""),
  },
};

// Keras' exceptions have a code each; the second failure of Keras (an array, in Keras 2) is one of these.
const codes: Readonly<Record<string, string>> = {
  missing_key: "ERR_WEIGHTS_ARGUMENT",
  bad_ext_weights: "ERR_WEIGHTS_FORMAT",
  bad_ext_full: "ERR_WEIGHTS_FORMAT",
  freq_float: "ERR_WEIGHTS_ARGUMENT",
  unknown_metric_auto: "ERR_WEIGHTS_ARGUMENT",
  unknown_metric_acc_auto: "ERR_WEIGHTS_ARGUMENT",
  fmeasure_auto: "ERR_WEIGHTS_ARGUMENT",
  array_monitor: "ERR_WEIGHTS_ARGUMENT",
};

const batches: Readonly<Record<string, number>> = { freq3_batches4: 4, freq4_batches6_loss: 6, freq_best_batches: 4 };

const camel: Readonly<Record<string, keyof ModelCheckpointOptions>> = {
  save_weights_only: "saveWeightsOnly",
  save_best_only: "saveBestOnly",
  save_freq: "saveFreq",
  initial_value_threshold: "initialValueThreshold",
  verbose: "verbose",
  monitor: "monitor",
  mode: "mode",
};

let folder = "";
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "keras-weights-callback-"));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

async function trace(
  name: string,
  recorded: Trace,
  flavor: "keras2" | "keras3",
): Promise<Partial<Trace> & { code?: string }> {
  const saved: [string, string | number][] = [];
  const warnings: string[] = [];
  let stdout = "";
  const record = (what: string) => async (path: string, options: { overwrite: true }) => {
    expect(options.overwrite).toBe(true);
    saved.push([what, relative(folder, path)]);
  };
  const model: CheckpointModel = {
    save: record("save"),
    saveWeights: record("save_weights"),
    flavor,
    metrics: ["accuracy"],
  };
  const options = Object.fromEntries(Object.entries(recorded.kwargs).map(([key, value]) => [camel[key]!, value]));
  const result = (): Partial<Trace> => ({ saved, stdout: stdout.replaceAll(folder, "<T>"), warnings });
  try {
    const callback = new ModelCheckpoint(`${folder}/${recorded.path}`, {
      ...options,
      model,
      onMessage: (message) => (stdout += `${message}\n`),
      onWarning: ({ message }) => warnings.push(message),
    });
    await callback.onTrainBegin();
    for (const [epoch, logs] of recorded.logs.entries()) {
      await callback.onEpochBegin(epoch);
      for (let batch = 0; batch < (batches[name] ?? 0); batch += 1) {
        await callback.onTrainBatchEnd(batch, { loss: 1 - 0.1 * batch });
      }
      saved.push(["epoch_end", epoch]);
      await callback.onEpochEnd(epoch, logs);
    }
    await callback.onTrainEnd();
    return { ...result(), best: callback.best ?? null };
  } catch (error) {
    if (!isWeightsError(error)) throw error;
    return { ...result(), code: error.code };
  }
}

describe.each([
  ["keras2", "k2"],
  ["keras3", "k3"],
] as const)("ModelCheckpoint of %s", (flavor, keras) => {
  const cases = Object.entries(traces(keras));

  it("has all recorded cases", () => {
    expect(cases.map(([name]) => name)).toHaveLength(24);
  });

  it.each(cases)("does what Keras did: %s", async (name, recorded) => {
    const instead = kerasFails[`${flavor} ${name}`];
    const expected = { ...recorded, ...instead };
    const found = await trace(name, recorded, flavor);
    expect(found.saved).toEqual(expected.saved);
    expect(found.stdout).toBe(expected.stdout);
    if (expected.exception === undefined || instead !== undefined) expect(found.best).toBe(expected.best);
    else expect(found.code).toBe(codes[name]);
    // Quotes and the look of an array differ between the flavours and numpy; one wording is ours.
    const plain = (text: string): string => text.replaceAll("'", "").replace("[1. 2.]", "[1, 2]");
    expect(found.warnings?.map(plain)).toEqual([...recorded.warnings, ...recorded.log].map(plain));
  });

  it("makes the folder of the file", async () => {
    const paths: string[] = [];
    const model = { flavor, saveWeights: async (path: string) => void paths.push(path) };
    const callback = new ModelCheckpoint(`${folder}/a/b/{epoch}.weights.h5`, { model, saveWeightsOnly: true });
    await callback.onEpochEnd(4, {});
    expect(paths).toEqual([`${folder}/a/b/5.weights.h5`]);
    expect(existsSync(join(folder, "a", "b"))).toBe(true);
  });
});

describe("Keras 3's directions", () => {
  const direct = async (options: ModelCheckpointOptions, values: number[]): Promise<number | undefined> => {
    const model = { saveWeights: async () => undefined };
    const callback = new ModelCheckpoint(`${folder}/w.weights.h5`, {
      model,
      saveWeightsOnly: true,
      saveBestOnly: true,
      onMessage: () => undefined,
      ...options,
    });
    const name = options.monitor ?? "val_loss";
    for (const [epoch, value] of values.entries()) await callback.onEpochEnd(epoch, { [name]: value });
    return callback.best;
  };

  it("come from the metrics", async () => {
    expect(await direct({ monitor: "val_auc", metrics: ["auc"] }, [1, 3, 2])).toBe(3);
    expect(await direct({ monitor: "mae", metrics: ["mae"] }, [2, 1, 3])).toBe(1);
    expect(await direct({ monitor: "val_mine", metrics: [{ name: "mine", direction: "up" }] }, [1, 3, 2])).toBe(3);
    expect(await direct({ monitor: "val_loss", metrics: [{ name: "loss", direction: "up" }] }, [1, 3, 2])).toBe(3);
    expect(await direct({ monitor: "foo", mode: "max" }, [1, 3, 2])).toBe(3);
  });

  it("are an error when no metric tells", async () => {
    await expect(direct({ monitor: "true_positives", metrics: ["true_positives"] }, [1])).rejects.toMatchObject({
      code: "ERR_WEIGHTS_ARGUMENT",
    });
  });
});

it("saves every `period` epochs in Keras 2", async () => {
  const epochs: string[] = [];
  const model = { saveWeights: async (path: string) => void epochs.push(relative(folder, path)) };
  const callback = new ModelCheckpoint(`${folder}/{epoch}.h5`, {
    model,
    flavor: "keras2",
    saveWeightsOnly: true,
    period: 2,
  });
  for (let epoch = 0; epoch < 5; epoch += 1) await callback.onEpochEnd(epoch);
  expect(epochs).toEqual(["2.h5", "4.h5"]);
});
