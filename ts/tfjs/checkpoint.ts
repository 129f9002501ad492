import {
  ModelCheckpoint,
  type CheckpointModel,
  type Logs,
  type ModelCheckpointOptions,
} from "../callbacks/model-checkpoint.ts";
import { WeightsError } from "../errors.ts";
import { tell, type TranslationNote } from "./problems.ts";
import { saveModel } from "./save.ts";
import type { TfModelLike, TfNamespaceLike } from "./structural.ts";
import { loadWeights, saveWeights } from "./weights.ts";

/** Options of {@link modelCheckpoint}: those of `ModelCheckpoint`, without a model. */
export type TfModelCheckpointOptions = Omit<ModelCheckpointOptions, "model">;

/** A callback for `model.fit`, with the checkpoint behind it. */
export interface TfCheckpointCallback {
  /** What saves: `restore()`, `best`. Its model is the one that is being fitted, or what `setModel` was given. */
  readonly checkpoint: ModelCheckpoint;
  setModel(model: unknown): void;
}

/** The callback class of a TensorFlow.js, so that `fit` takes the result without a cast. */
type CallbackOf<T extends TfNamespaceLike> = InstanceType<NonNullable<T["CustomCallback"]>>;

interface CompiledModel extends TfModelLike {
  readonly metricsNames?: readonly string[];
}

/** Names that TensorFlow.js gives metrics, and Keras' name for the same. */
function metricOf(name: string): { name: string; direction?: "up" | "down" } {
  if (name === "acc") return { name, direction: "up" };
  return { name: name.replaceAll(/[A-Z]/gu, (letter) => `_${letter.toLowerCase()}`) };
}

function checkpointModel(model: CompiledModel, options: TfModelCheckpointOptions): CheckpointModel {
  const flavor = options.flavor === undefined ? {} : { flavor: options.flavor };
  // The same in each epoch: said once.
  const told = new Set<string>();
  const onNote = (note: TranslationNote): void => {
    if (told.has(note.message)) return;
    told.add(note.message);
    tell(note, undefined);
  };
  return {
    ...flavor,
    metrics: (model.metricsNames ?? []).map((name) => metricOf(name)),
    saveWeights: (path, saveOptions) => saveWeights(model, path, { ...saveOptions, ...flavor }),
    save: (path, saveOptions) => saveModel(model, path, { ...saveOptions, ...flavor, onNote }),
    loadWeights: (path) => loadWeights(model, path, flavor),
  };
}

/** TensorFlow.js counts `batch` among the logs; in Keras it is not one. */
function withoutBatch(logs: Logs | undefined): Logs {
  return Object.fromEntries(Object.entries(logs ?? {}).filter(([name]) => name !== "batch" && name !== "size"));
}

/**
 * Keras' `ModelCheckpoint` for `model.fit` of TensorFlow.js: saves weights, or whole models with the optimizer, that
 * Python opens.
 *
 * ```ts
 * const best = modelCheckpoint(tf, "run/best.weights.h5", { saveWeightsOnly: true, saveBestOnly: true });
 * await model.fit(x, y, { epochs: 10, validationSplit: 0.1, callbacks: [best] });
 * ```
 *
 * `fit` waits for each save, and the work is done off the event loop.
 *
 * @param tf The namespace of `@tensorflow/tfjs`.
 */
export function modelCheckpoint<T extends TfNamespaceLike>(
  tf: T,
  filepath: string,
  options: TfModelCheckpointOptions = {},
): CallbackOf<T> & TfCheckpointCallback {
  const { CustomCallback } = tf;
  if (CustomCallback === undefined) {
    throw new WeightsError(
      "ERR_WEIGHTS_ARGUMENT",
      "this TensorFlow.js has no CustomCallback: hand in @tensorflow/tfjs",
    );
  }
  const checkpoint = new ModelCheckpoint(filepath, { ...options, flavor: options.flavor ?? "keras3" });
  const callback = new CustomCallback({
    onTrainBegin: () => checkpoint.onTrainBegin(),
    onTrainEnd: () => checkpoint.onTrainEnd(),
    onEpochBegin: (epoch: number) => checkpoint.onEpochBegin(epoch),
    onEpochEnd: (epoch: number, logs?: Logs) => checkpoint.onEpochEnd(epoch, withoutBatch(logs)),
    onBatchEnd: (batch: number, logs?: Logs) => checkpoint.onTrainBatchEnd(batch, withoutBatch(logs)),
  } as never);
  const setModel = (model: unknown): void => {
    checkpoint.setModel(checkpointModel(model as CompiledModel, options));
  };
  // TensorFlow.js' own does nothing here: its custom callbacks never learn the model.
  return Object.assign(callback, { checkpoint, setModel }) as unknown as CallbackOf<T> & TfCheckpointCallback;
}
