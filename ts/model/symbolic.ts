import type { Layer } from "./layer.ts";
import { flatten, type Structure } from "./structure.ts";
import { shapeText, unknownShape, type MaybeShape, type Shape } from "./shape.ts";

/** Where a symbolic tensor comes from. */
export interface History {
  readonly node: CallNode;
  readonly tensorIndex: number;
}

/**
 * A tensor without values: a shape and a dtype that flow through layers when a functional model is put together.
 *
 * ```ts
 * const x = layers.input([784]);
 * const y = layers.dense(10).apply(x);
 * y.shape; // [null, 10]
 * ```
 */
export class Symbolic {
  /** Keras' dtype name. */
  readonly dtype: string;
  #shape: MaybeShape;
  #history: History | undefined;

  constructor(shape: MaybeShape, dtype: string) {
    this.#shape = shape;
    this.dtype = dtype;
  }

  /** Lengths of its axes, the batch first; `"unknown"` behind a layer of an undeclared class. */
  get shape(): MaybeShape {
    return this.#shape;
  }

  /** @internal A shape that a config tells; one that is known stays. */
  learn(shape: Shape): void {
    if (this.#shape === unknownShape) this.#shape = shape;
  }

  /** The call that made it; undefined inside a traced `call()`. */
  get history(): History | undefined {
    return this.#history;
  }

  /** @internal Said once, by the call that made it. */
  setHistory(history: History): void {
    this.#history = history;
  }

  /** Its shape for people: `(None, 784) float32`. */
  toString(): string {
    return `${shapeText(this.shape)} ${this.dtype}`;
  }
}

/** Whether a value is a symbolic tensor. */
export function isSymbolic(value: unknown): value is Symbolic {
  return value instanceof Symbolic;
}

/** What a layer may be given in a call: symbolic tensors in any nesting, and constants. */
export type CallArgument = Structure<Symbolic | null | boolean | number | string>;

/** One call of a layer on symbolic tensors. */
export class CallNode {
  readonly layer: Layer;
  readonly args: readonly CallArgument[];
  readonly kwargs: Readonly<Record<string, CallArgument>>;
  /** The symbolic tensors among the arguments, in Keras' order. */
  readonly inputs: readonly Symbolic[];
  readonly outputs: readonly Symbolic[];
  /** The outputs as the layer nests them. */
  readonly result: Structure<Symbolic>;

  constructor(
    layer: Layer,
    args: readonly CallArgument[],
    kwargs: Readonly<Record<string, CallArgument>>,
    result: Structure<Symbolic>,
  ) {
    this.layer = layer;
    this.args = args;
    this.kwargs = kwargs;
    this.inputs = [...flatten(args, isSymbolic), ...flatten(kwargs, isSymbolic)];
    this.result = result;
    this.outputs = flatten(result, isSymbolic);
    this.outputs.forEach((output, tensorIndex) => {
      output.setHistory({ node: this, tensorIndex });
    });
  }

  /** Whether this is an input of the graph and not a call. */
  get isInput(): boolean {
    return this.inputs.length === 0;
  }
}
