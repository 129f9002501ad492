import { castValues, decoded } from "./cast.ts";
import {
  elementSize,
  entriesOf,
  isArrayOf,
  zerosOf,
  type DType,
  type RawArray,
  type RawArrayOf,
  type RawArrays,
  type TensorDType,
  type TypedArray,
} from "./dtype.ts";
import { WeightsError } from "./errors.ts";

export { dtypes, isDType } from "./dtype.ts";
export type { DType, OpaqueDType, RawArray, RawArrayOf, RawArrays, TensorDType, TypedArray } from "./dtype.ts";

// As for errors: two copies of this package recognize each other's tensors.
const mark = Symbol.for("keras-weights.Tensor");

/** The class of float16 arrays, in runtimes that have it (Node 24 and newer). */
export interface Float16ArrayLike extends ArrayLike<number> {
  readonly buffer: ArrayBufferLike;
  readonly byteOffset: number;
  readonly byteLength: number;
}

type Float16ArrayConstructor = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => Float16ArrayLike;

function float16Array(): Float16ArrayConstructor | undefined {
  return (globalThis as { Float16Array?: Float16ArrayConstructor }).Float16Array;
}

/** What a {@link Tensor} is made from. */
export interface TensorParts<D extends TensorDType> {
  /** Path in the file, or of the weight in the model. Default `""`. */
  readonly path?: string;
  /** Name of the layer, where it belongs to one. */
  readonly layer?: string | undefined;
  /** Short name, such as `kernel`. Default: the last part of the path. */
  readonly name?: string;
  readonly dtype: D;
  /** Elements along each axis; `[]` is one number. */
  readonly shape: readonly number[];
  /** The elements in C order, in the array class of the dtype. */
  readonly data: RawArrayOf<D>;
}

/**
 * Values with a dtype and a shape.
 *
 * What files and models give are views, to be read: `data.buffer` may be shared with other tensors, and with the pages
 * of a file. {@link copy} gives a tensor of its own.
 */
export class Tensor<D extends TensorDType = TensorDType> {
  /** Path in the file, or of the weight in the model. */
  readonly path: string;
  /** Name of the layer, where it belongs to one. */
  readonly layer: string | undefined;
  /** Short name, such as `kernel`. */
  readonly name: string;
  /** Keras' name of the element type. */
  readonly dtype: D;
  /** Elements along each axis. */
  readonly shape: readonly number[];
  /** The elements in C order. float16, bfloat16 and float8 are raw bits, whatever the runtime: see {@link toFloat32}. */
  readonly data: RawArrayOf<D>;

  /** @throws ERR_WEIGHTS_SHAPE, ERR_WEIGHTS_DTYPE when data, dtype and shape do not belong together. */
  constructor(parts: TensorParts<D>) {
    this.path = parts.path ?? "";
    this.layer = parts.layer;
    this.name = parts.name ?? this.path.slice(this.path.lastIndexOf("/") + 1);
    this.dtype = parts.dtype;
    this.shape = parts.shape;
    this.data = parts.data;
    if (!isArrayOf(parts.dtype, parts.data)) {
      throw new WeightsError("ERR_WEIGHTS_DTYPE", `${parts.dtype} values are not held in this class of array`, {
        weight: this.path,
        expected: zerosOf(parts.dtype, 0).constructor.name,
        found: (parts.data as object).constructor.name,
      });
    }
    const wanted = parts.shape.reduce((size, dim) => size * dim, 1);
    if (wanted * entriesOf(parts.dtype) !== parts.data.length) {
      throw new WeightsError("ERR_WEIGHTS_SHAPE", `the data have another length than the shape says`, {
        weight: this.path,
        expected: [...parts.shape],
        found: [parts.data.length / entriesOf(parts.dtype)],
      });
    }
    Object.defineProperty(this, mark, { value: true });
  }

  /** Number of elements. */
  get size(): number {
    return this.shape.reduce((size, dim) => size * dim, 1);
  }

  /** Bytes of the elements. */
  get byteLength(): number {
    return this.size * elementSize(this.dtype);
  }

  /**
   * The values as float32, always in an array of its own. Exact for float16, bfloat16, float8 and small integers,
   * else rounded to nearest.
   *
   * @throws ERR_WEIGHTS_DTYPE for complex numbers and opaque bytes.
   */
  toFloat32(): Float32Array {
    if (entriesOf(this.dtype) !== 1 || this.dtype.startsWith("opaque")) {
      throw new WeightsError("ERR_WEIGHTS_DTYPE", `${this.dtype} values are no float32 values`, {
        weight: this.path,
        found: this.dtype,
      });
    }
    checkKept(this);
    const values = decoded(this.dtype, this.data);
    if (values instanceof Float32Array && values !== (this.data as object)) return values;
    const out = new Float32Array(values.length);
    castValues(out, "float32", this.data, this.dtype);
    return out;
  }

  /**
   * A `Float16Array` over the same memory.
   *
   * @throws ERR_WEIGHTS_DTYPE for other dtypes, ERR_WEIGHTS_UNSUPPORTED where the runtime has no `Float16Array`.
   */
  asFloat16Array(): Float16ArrayLike {
    if (this.dtype !== "float16") {
      throw new WeightsError("ERR_WEIGHTS_DTYPE", `${this.dtype} values are no float16 values`, {
        weight: this.path,
        expected: "float16",
        found: this.dtype,
      });
    }
    const constructor = float16Array();
    if (constructor === undefined) {
      throw new WeightsError(
        "ERR_WEIGHTS_UNSUPPORTED",
        `this runtime has no Float16Array (Node 24 has): use toFloat32()`,
        { weight: this.path },
      );
    }
    checkKept(this);
    return new constructor(this.data.buffer, this.data.byteOffset, this.data.length);
  }

  /** The same values in a buffer of its own, which may be written to and transferred. */
  copy(): Tensor<D> {
    checkKept(this);
    const data = zerosOf(this.dtype, this.size);
    (data as Uint8Array).set(this.data as Uint8Array);
    return new Tensor({
      path: this.path,
      layer: this.layer,
      name: this.name,
      dtype: this.dtype,
      shape: this.shape,
      data,
    });
  }
}

/**
 * A tensor of given values, for `setWeights`.
 *
 * ```ts
 * const bits = tensor(new Uint16Array([0x3c00, 0x4000]), [2], "float16"); // 1 and 2
 * ```
 *
 * @param data The elements in C order, in the array class of the dtype: not copied.
 * @param shape Elements along each axis; default one axis.
 * @param dtype Default: what the array class stands for (`Float32Array` → float32).
 * @throws ERR_WEIGHTS_SHAPE, ERR_WEIGHTS_DTYPE when they do not belong together.
 */
export function tensor<D extends DType>(data: RawArrays[D], shape?: readonly number[], dtype?: D): Tensor<D> {
  const chosen = dtype ?? (dtypeOf(data) as D);
  return new Tensor({ dtype: chosen, shape: shape ?? [data.length / entriesOf(chosen)], data: data as RawArrayOf<D> });
}

/** Throws when the memory of values has gone: an array that had elements has none once its buffer is detached. */
export function checkKept({ path, size, data }: { path: string; size: number; data: RawArray }): void {
  if (data.length > 0 || size === 0) return;
  throw new WeightsError(
    "ERR_WEIGHTS_CHANGED",
    `the values of ${path === "" ? "a tensor" : path} are gone: their file was changed while it was mapped, or their buffer was transferred`,
    { weight: path },
  );
}

/** Whether a value is a {@link Tensor}, of this or another copy of the package. */
export function isTensor(value: unknown): value is Tensor {
  return typeof value === "object" && value !== null && mark in value;
}

/** The dtype that a typed array's class stands for. */
export function dtypeOf(array: TypedArray): DType {
  const name = array.constructor.name;
  switch (name) {
    case "Float32Array":
      return "float32";
    case "Float64Array":
      return "float64";
    case "Int8Array":
      return "int8";
    case "Int16Array":
      return "int16";
    case "Int32Array":
      return "int32";
    case "Uint16Array":
      return "uint16";
    case "Uint32Array":
      return "uint32";
    case "BigInt64Array":
      return "int64";
    case "BigUint64Array":
      return "uint64";
    case "Float16Array":
      return "float16";
    default:
      return "uint8";
  }
}

/**
 * A zeroed array for `size` elements.
 *
 * @throws ERR_WEIGHTS_MEMORY when it cannot be had.
 */
export function rawArray<D extends TensorDType>(dtype: D, size: number): RawArrayOf<D> {
  try {
    return zerosOf(dtype, size);
  } catch (cause) {
    throw new WeightsError("ERR_WEIGHTS_MEMORY", `memory for ${size} elements of ${dtype} could not be had`, {
      expected: size * elementSize(dtype),
      cause,
    });
  }
}

/**
 * Copies values into `target`, whose elements are of `dtype`, casting as Keras' `assign` does.
 *
 * A bare typed array of the class in which `dtype` is held is taken as it is, so a `Uint16Array` for a float16 weight
 * means bits; any other class means its numbers.
 *
 * @throws ERR_WEIGHTS_SHAPE when the lengths differ, ERR_WEIGHTS_DTYPE for opaque bytes.
 */
export function castInto(target: RawArray, dtype: DType, value: Tensor | TypedArray): void {
  if (isTensor(value)) checkKept(value);
  let data = (isTensor(value) ? value.data : value) as RawArray;
  let from: TensorDType = isTensor(value) ? value.dtype : isArrayOf(dtype, value) ? dtype : dtypeOf(value);
  if (!isTensor(value) && from === "float16" && !(value instanceof Uint16Array)) {
    data = new Uint16Array(value.buffer, value.byteOffset, value.length);
  }
  // A bool is 0 or 1 in every file; a bare array may hold any numbers.
  if (!isTensor(value) && dtype === "bool" && from === "bool") from = "uint8";
  if (data.length / entriesOf(from) !== target.length / entriesOf(dtype)) {
    throw new WeightsError("ERR_WEIGHTS_SHAPE", `the values have another length than the weight`, {
      expected: [target.length / entriesOf(dtype)],
      found: [data.length / entriesOf(from)],
    });
  }
  castValues(target, dtype, data, from);
}
