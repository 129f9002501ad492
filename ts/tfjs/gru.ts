// A GRU with `reset_after`, Keras' default and the one that TensorFlow.js refuses, as a layer of TensorFlow.js.
// The recurrent product is taken before the reset gate, and there is a bias of its own for it (bias is [2, 3 units]):
//
//   z = σ(x Wz + bz + h Uz + cz)    r = σ(x Wr + br + h Ur + cr)
//   n = φ(x Wn + bn + r (h Un + cn))    h' = z h + (1 − z) n
import type { TfClass, TfNamespaceLike } from "./structural.ts";

/** Name of the class in configs of TensorFlow.js. */
export const gruResetAfter = "GRUResetAfter";
/** The same of its cell, in an `RNN`. */
export const gruCellResetAfter = "GRUCellResetAfter";

interface T {
  readonly shape: number[];
}
interface Activation {
  apply(x: T): T;
}
interface Weight {
  read(): T;
}

/** Operations of TensorFlow.js that the cell uses. */
interface Ops {
  tidy<R>(body: () => R): R;
  matMul(a: T, b: T): T;
  add(a: T, b: T): T;
  mul(a: T, b: T): T;
  sub(a: T | number, b: T): T;
  split(x: T, parts: number, axis: number): T[];
  reshape(x: T, shape: number[]): T;
  slice(x: T, begin: number[], size: number[]): T;
  onesLike(x: T): T;
  dropout(x: T, rate: number): T;
  keep(x: T): T;
}

/** What TensorFlow.js' own cell has, as far as ours builds on it. */
interface Cell {
  units: number;
  useBias: boolean;
  dropout: number;
  recurrentDropout: number;
  dropoutMask: T | null;
  recurrentDropoutMask: T | null;
  kernel: Weight;
  recurrentKernel: Weight;
  bias: Weight | null;
  built: boolean;
  activation: Activation;
  recurrentActivation: Activation;
  kernelInitializer: unknown;
  recurrentInitializer: unknown;
  biasInitializer: unknown;
  kernelRegularizer: unknown;
  recurrentRegularizer: unknown;
  biasRegularizer: unknown;
  kernelConstraint: unknown;
  recurrentConstraint: unknown;
  biasConstraint: unknown;
  addWeight(
    name: string,
    shape: number[],
    dtype: null,
    initializer: unknown,
    regularizer: unknown,
    trainable: boolean,
    constraint: unknown,
  ): Weight;
  getConfig(): Record<string, unknown>;
}

interface Gru {
  cell: Cell;
  getConfig(): Record<string, unknown>;
}

type Args = Record<string, unknown>;
type CellClass = new (args: Args) => Cell;
type GruClass = new (args: Args) => Gru;

interface LayerMakers {
  gru(args: Args): object;
  gruCell(args: Args): object;
}

const registered = new WeakSet();

/**
 * Teaches a TensorFlow.js the layers that it lacks: {@link gruResetAfter} and its cell. Doing it twice does no harm. Call it before
 * TensorFlow.js itself loads a model that was saved with such a layer.
 *
 * @param tf The namespace of `@tensorflow/tfjs`.
 */
export function registerLayers(tf: TfNamespaceLike): void {
  if (registered.has(tf.serialization)) return;
  const serialization = tf.serialization as { registerClass(cls: TfClass): unknown };
  const makers = tf.layers as LayerMakers;
  // The classes themselves are not exported; their objects have them.
  const cell = makeCell(tf as unknown as Ops, makers.gruCell({ units: 1 }).constructor as CellClass);
  serialization.registerClass(cell as CellClass & TfClass);
  serialization.registerClass(makeGru(makers.gru({ units: 1 }).constructor as GruClass, cell));
  registered.add(tf.serialization);
}

function makeGru(BaseGru: GruClass, ResetAfterCell: CellClass): TfClass {
  class GRUResetAfter extends BaseGru {
    static readonly className: string = gruResetAfter;

    constructor(args: Args) {
      super({ ...args, resetAfter: false });
      // Nothing is built yet, so the cell can still be another one.
      this.cell = new ResetAfterCell(args);
    }

    override getConfig(): Record<string, unknown> {
      return { ...super.getConfig(), resetAfter: true };
    }
  }
  return GRUResetAfter;
}

function makeCell(ops: Ops, BaseCell: CellClass): CellClass {
  return class ResetAfterCell extends BaseCell {
    static readonly className: string = gruCellResetAfter;

    constructor(args: Args) {
      super({ ...args, resetAfter: false });
    }

    build(inputShape: readonly (number | null)[]): void {
      const { units } = this;
      const inputs = inputShape.at(-1) ?? 1;
      this.kernel = this.addWeight(
        "kernel",
        [inputs, 3 * units],
        null,
        this.kernelInitializer,
        this.kernelRegularizer,
        true,
        this.kernelConstraint,
      );
      this.recurrentKernel = this.addWeight(
        "recurrent_kernel",
        [units, 3 * units],
        null,
        this.recurrentInitializer,
        this.recurrentRegularizer,
        true,
        this.recurrentConstraint,
      );
      this.bias = this.useBias
        ? this.addWeight(
            "bias",
            [2, 3 * units],
            null,
            this.biasInitializer,
            this.biasRegularizer,
            true,
            this.biasConstraint,
          )
        : null;
      this.built = true;
    }

    call(inputs: readonly [T, T], kwargs: { training?: boolean }): T[] {
      return ops.tidy(() => {
        const [x, h] = inputs;
        const product = ops.matMul(this.#dropped("dropoutMask", this.dropout, x, kwargs), this.kernel.read());
        const state = this.#dropped("recurrentDropoutMask", this.recurrentDropout, h, kwargs);
        const [xz, xr, xn] = ops.split(this.#biased(product, 0), 3, 1) as [T, T, T];
        const recurrent = ops.matMul(state, this.recurrentKernel.read());
        const [hz, hr, hn] = ops.split(this.#biased(recurrent, 1), 3, 1) as [T, T, T];
        const z = this.recurrentActivation.apply(ops.add(xz, hz));
        const r = this.recurrentActivation.apply(ops.add(xr, hr));
        const n = this.activation.apply(ops.add(xn, ops.mul(r, hn)));
        const next = ops.add(ops.mul(z, h), ops.mul(ops.sub(1, z), n));
        return [next, next];
      });
    }

    override getConfig(): Record<string, unknown> {
      return { ...super.getConfig(), resetAfter: true };
    }

    #biased(x: T, row: number): T {
      if (this.bias === null) return x;
      const size = 3 * this.units;
      return ops.add(x, ops.reshape(ops.slice(this.bias.read(), [row, 0], [1, size]), [size]));
    }

    /** One mask for all steps of a call; the layer throws it away before the next. */
    #dropped(mask: "dropoutMask" | "recurrentDropoutMask", rate: number, x: T, kwargs: { training?: boolean }): T {
      if (!(rate > 0 && rate < 1) || kwargs.training !== true) return x;
      this[mask] ??= ops.keep(ops.dropout(ops.onesLike(x), rate));
      return ops.mul(x, this[mask]);
    }
  };
}
