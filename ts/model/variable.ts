import { initialize, type Initializer } from "../initializers.ts";
import {
  castInto,
  checkKept,
  isTensor,
  rawArray,
  Tensor,
  type DType,
  type RawArray,
  type TypedArray,
} from "../tensor.ts";
import { fail } from "./failure.ts";
import { defaultFlavor, type Flavor } from "./flavor.ts";
import { takeName } from "./naming.ts";
import { scopeNames, type Scope } from "./scope.ts";
import { sizeOf } from "./shape.ts";

/** What a variable is made from. */
export interface VariableOptions {
  /** Name inside its layer, `kernel`. Absent: Keras makes one up. */
  readonly name: string | undefined;
  readonly shape: readonly number[];
  readonly dtype: DType;
  readonly trainable: boolean;
  readonly initializer: Initializer;
  /** Where it is created: gives the path. */
  readonly scope: Scope | undefined;
  /** The flavour of its layer, asked when a name is. */
  readonly flavor: () => Flavor | undefined;
  /** Values worked out at every save (the merge of a LoRA kernel) and not kept. */
  readonly virtual?: boolean;
}

/**
 * One weight of a layer. It holds no memory until somebody sets or reads it; the first read gives it the values of
 * its initializer.
 *
 * ```ts
 * const [kernel] = model.weights;
 * kernel.path; // "sequential/dense/kernel"
 * kernel.shape; // [784, 64]
 * ```
 */
export class Variable {
  /** Lengths of its axes. */
  readonly shape: readonly number[];
  /** Keras' name of its element type. */
  readonly dtype: DType;
  /** How its first values are made. */
  readonly initializer: Initializer;
  /** Whether its values are worked out for files only. */
  readonly virtual: boolean;
  /** @internal What it was made from. */
  readonly options: VariableOptions;
  /** For a value that exists in files only: the variable that takes it when it is loaded. */
  readonly standsFor?: Variable;
  readonly #name: string | undefined;
  readonly #scope: Scope | undefined;
  readonly #flavor: () => Flavor | undefined;
  #madeUp: string | undefined;
  #trainable: boolean;
  #value: RawArray | undefined;
  #version = 0;

  constructor(options: VariableOptions) {
    this.options = options;
    this.shape = options.shape;
    this.dtype = options.dtype;
    this.initializer = options.initializer;
    this.virtual = options.virtual ?? false;
    this.#name = options.name;
    this.#scope = options.scope;
    this.#flavor = options.flavor;
    this.#trainable = options.trainable;
  }

  /** The name inside its layer, the same in both flavours: `kernel`. */
  get localName(): string {
    if (this.#name !== undefined) return this.#name;
    if (this.#flavor() === "keras2") return "Variable";
    return (this.#madeUp ??= takeName("keras3", { prefix: "variable" }));
  }

  /** Keras' `variable.name`: `kernel` in Keras 3, `dense/kernel:0` in Keras 2. */
  get name(): string {
    return this.#flavor() === "keras2" ? this.path : this.localName;
  }

  /** The full name: `sequential/dense/kernel` in Keras 3, `dense/kernel:0` in Keras 2. */
  get path(): string {
    const flavor = this.#flavor() ?? defaultFlavor;
    const path = [...scopeNames(this.#scope, flavor), this.localName].join("/");
    return flavor === "keras2" ? `${path}:0` : path;
  }

  /** Number of elements. */
  get size(): number {
    return sizeOf(this.shape);
  }

  /** Whether an optimizer would change it, were its layer trainable. */
  get trainable(): boolean {
    return this.#trainable;
  }

  set trainable(trainable: boolean) {
    this.#trainable = trainable;
  }

  /** The values, or undefined when nobody set or read them yet: then it holds no memory. */
  get value(): RawArray | undefined {
    return this.#value;
  }

  /** Grows with every change of the values. */
  get version(): number {
    return this.#version;
  }

  /** The values; the first read of a variable that was never set makes its initializer's. */
  read(): RawArray {
    const data = (this.#value ??= initialize(this.initializer, this.shape, this.dtype));
    checkKept({ path: this.path, size: this.size, data });
    return data;
  }

  /** Takes an array over as the values, without a copy. Its length must be {@link size}. */
  replace(raw: RawArray): void {
    this.#value = raw;
    this.#version += 1;
  }

  /** @internal Called when a file's value for it was put in place. */
  loaded(): void {
    // Nothing to do for a variable that the model holds.
  }

  /** A live view of the values. */
  tensor(layer?: string): Tensor {
    const { path, localName: name, dtype, shape } = this;
    return new Tensor({ path, layer, name, dtype, shape, data: this.read() });
  }

  /** Copies values in, cast to this dtype as Keras' `assign` does. The shapes must be equal. */
  assign(value: Tensor | TypedArray): void {
    this.check(value);
    const raw = rawArray(this.dtype, this.size);
    castInto(raw, this.dtype, value);
    this.replace(raw);
  }

  /** Throws what {@link assign} would throw, and changes nothing. */
  check(value: Tensor | TypedArray, layer?: string): void {
    const found = isTensor(value) ? value.shape : undefined;
    const same = found
      ? found.length === this.shape.length && found.every((dim, axis) => dim === this.shape[axis])
      : (value as TypedArray).length === this.size;
    if (same) return;
    fail("ERR_WEIGHTS_SHAPE", `the values given for ${this.path} have another shape`, {
      layer,
      weight: this.path,
      expected: [...this.shape],
      found: found ? [...found] : [(value as TypedArray).length],
    });
  }
}
