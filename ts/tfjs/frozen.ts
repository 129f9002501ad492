// Batch normalization that is frozen. In Keras it then normalizes with its moving averages and leaves them alone, in
// training too; TensorFlow.js goes on with the batch's own and changes the averages of a base that nobody meant to train.
import type { TfLayerLike, TfModelLike } from "./structural.ts";

interface Callable extends TfLayerLike {
  call(inputs: unknown, kwargs: Readonly<Record<string, unknown>>): unknown;
  readonly layers?: readonly TfLayerLike[];
  readonly layer?: TfLayerLike;
}

const done = new WeakSet<TfLayerLike>();

/** Makes every BatchNormalization of a model keep to Keras' rule while its `trainable` is false. */
export function keepFrozenNormalization(model: TfModelLike | TfLayerLike): void {
  const { layers, layer } = model as Callable;
  for (const inner of layers ?? (layer === undefined ? [] : [layer])) keepFrozenNormalization(inner);
  if (model.getClassName() !== "BatchNormalization" || done.has(model)) return;
  const normalization = model as Callable;
  const call = normalization.call.bind(normalization);
  normalization.call = (inputs, kwargs) =>
    call(inputs, normalization.trainable ? kwargs : { ...kwargs, training: false });
  done.add(model);
}
