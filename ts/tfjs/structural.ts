// What we need of TensorFlow.js, as shapes of objects. Nothing here is imported from it: the user hands `tf` in, so the
// package runs without it, works with any copy of it, and never loads a second one.

/** A tensor of TensorFlow.js. */
export interface TfTensorLike {
  readonly shape: readonly number[];
  readonly dtype: string;
  dataSync(): ArrayLike<number> & ArrayBufferView;
  data(): Promise<ArrayLike<number> & ArrayBufferView>;
  dispose(): void;
}

/** A weight of a TensorFlow.js layer. */
export interface TfVariableLike {
  /** `dense/kernel`, without the suffix that makes `name` unique in a process. */
  readonly originalName: string;
  readonly name: string;
  readonly shape: readonly (number | null)[];
  readonly dtype: string;
  read(): TfTensorLike;
  write(value: never): unknown;
}

/** A layer of TensorFlow.js. */
export interface TfLayerLike {
  name: string;
  trainable: boolean;
  readonly weights: readonly TfVariableLike[];
  getClassName(): string;
  getConfig(): object;
}

/** A model of TensorFlow.js. */
export interface TfModelLike extends TfLayerLike {
  readonly layers: readonly TfLayerLike[];
  toJSON(unused?: unknown, returnString?: boolean): unknown;
}

/** A class that TensorFlow.js can be taught. */
export type TfClass = (new (config: never) => object) & { className: string };

/** TensorFlow.js, as far as this package uses it. */
export interface TfNamespaceLike {
  tensor(values: never, shape?: never, dtype?: never): TfTensorLike;
  readonly models: { modelFromJSON(json: never): Promise<unknown> };
  readonly layers: object;
  readonly serialization: object;
  readonly CustomCallback?: new (callbacks: never) => object;
  tidy(body: never): unknown;
}
