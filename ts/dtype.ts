/** The array that holds the elements of each dtype, bit for bit as files hold them. */
export interface RawArrays {
  /** IEEE half precision, raw bits. */
  float16: Uint16Array;
  /** The upper half of a float32, raw bits. */
  bfloat16: Uint16Array;
  float32: Float32Array;
  float64: Float64Array;
  /** 8-bit float with 4 exponent bits and no infinities, raw bits. */
  float8_e4m3fn: Uint8Array;
  /** 8-bit float with 5 exponent bits, raw bits. */
  float8_e5m2: Uint8Array;
  int8: Int8Array;
  int16: Int16Array;
  int32: Int32Array;
  int64: BigInt64Array;
  uint8: Uint8Array;
  uint16: Uint16Array;
  uint32: Uint32Array;
  uint64: BigUint64Array;
  /** One byte, 0 or 1. */
  bool: Uint8Array;
  /** Real and imaginary part by turns. */
  complex64: Float32Array;
  /** Real and imaginary part by turns. */
  complex128: Float64Array;
}

/** Keras' name of an element type that a weight can have. */
export type DType = keyof RawArrays;

/** Bytes of a size that the file says nothing more about: `opaque2`. */
export type OpaqueDType = `opaque${number}`;

/** Any element type that values can be read of. */
export type TensorDType = DType | OpaqueDType;

/** The typed array of a dtype. */
export type RawArrayOf<D extends TensorDType> = D extends DType ? RawArrays[D] : Uint8Array;

/** One of the arrays that values are held in. */
export type RawArray = RawArrays[DType];

/** Any typed array that values can be given in. */
export type TypedArray =
  | Int8Array
  | Uint8Array
  | Uint8ClampedArray
  | Int16Array
  | Uint16Array
  | Int32Array
  | Uint32Array
  | Float32Array
  | Float64Array
  | BigInt64Array
  | BigUint64Array;

/** Makes an array over a buffer, or one of its own. */
interface ArrayMaker<A> {
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): A;
  new (length: number): A;
}

interface Layout {
  /** The class of the array. */
  readonly array: ArrayMaker<RawArray>;
  /** Bytes of one element. */
  readonly size: number;
  /** Array entries of one element. */
  readonly entries: number;
}

const layouts: Readonly<Record<DType, Layout>> = {
  float16: { array: Uint16Array, size: 2, entries: 1 },
  bfloat16: { array: Uint16Array, size: 2, entries: 1 },
  float32: { array: Float32Array, size: 4, entries: 1 },
  float64: { array: Float64Array, size: 8, entries: 1 },
  float8_e4m3fn: { array: Uint8Array, size: 1, entries: 1 },
  float8_e5m2: { array: Uint8Array, size: 1, entries: 1 },
  int8: { array: Int8Array, size: 1, entries: 1 },
  int16: { array: Int16Array, size: 2, entries: 1 },
  int32: { array: Int32Array, size: 4, entries: 1 },
  int64: { array: BigInt64Array, size: 8, entries: 1 },
  uint8: { array: Uint8Array, size: 1, entries: 1 },
  uint16: { array: Uint16Array, size: 2, entries: 1 },
  uint32: { array: Uint32Array, size: 4, entries: 1 },
  uint64: { array: BigUint64Array, size: 8, entries: 1 },
  bool: { array: Uint8Array, size: 1, entries: 1 },
  complex64: { array: Float32Array, size: 8, entries: 2 },
  complex128: { array: Float64Array, size: 16, entries: 2 },
};

/** Every dtype that a weight can have. */
export const dtypes: readonly DType[] = Object.keys(layouts) as DType[];

/** Whether a word names a dtype that a weight can have. */
export function isDType(name: string): name is DType {
  return Object.hasOwn(layouts, name);
}

function layoutOf(dtype: TensorDType): Layout {
  if (isDType(dtype)) return layouts[dtype];
  const size = Number(dtype.slice("opaque".length));
  return { array: Uint8Array, size, entries: size };
}

/** Bytes of one element. */
export function elementSize(dtype: TensorDType): number {
  return layoutOf(dtype).size;
}

/** Array entries of one element: 2 for complex numbers, the size of an opaque one, else 1. */
export function entriesOf(dtype: TensorDType): number {
  return layoutOf(dtype).entries;
}

/** Whether an array is of the class that a dtype's values are held in. */
export function isArrayOf(dtype: TensorDType, array: object): boolean {
  return array instanceof layoutOf(dtype).array;
}

/** The array of a dtype over a part of a buffer; `byteOffset` is a multiple of the entry's size. */
export function viewOf<D extends TensorDType>(
  dtype: D,
  buffer: ArrayBufferLike,
  byteOffset: number,
  byteLength: number,
): RawArrayOf<D> {
  const { array, size, entries } = layoutOf(dtype);
  return new array(buffer, byteOffset, size === 0 ? 0 : (byteLength / size) * entries) as RawArrayOf<D>;
}

/** A zeroed array for `size` elements. Throws a RangeError when the memory cannot be had. */
export function zerosOf<D extends TensorDType>(dtype: D, size: number): RawArrayOf<D> {
  const { array, entries } = layoutOf(dtype);
  return new array(size * entries) as RawArrayOf<D>;
}
