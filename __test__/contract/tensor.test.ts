import { describe, expect, it } from "vitest";

import { dtypes, type RawArray } from "../../ts/dtype.ts";
import { errorCodes, isWeightsError, WeightsError } from "../../ts/errors.ts";
import { castInto, dtypeOf, isTensor, rawArray, tensor, Tensor, type DType, type TypedArray } from "../../ts/tensor.ts";

function code(run: () => unknown): string | undefined {
  try {
    run();
    return undefined;
  } catch (error) {
    return isWeightsError(error) ? error.code : String(error);
  }
}

describe("a tensor", () => {
  it("holds the exact typed array of its dtype", () => {
    const classes = Object.fromEntries(dtypes.map((dtype) => [dtype, rawArray(dtype, 3).constructor.name]));
    expect(classes).toEqual({
      float16: "Uint16Array",
      bfloat16: "Uint16Array",
      float32: "Float32Array",
      float64: "Float64Array",
      float8_e4m3fn: "Uint8Array",
      float8_e5m2: "Uint8Array",
      int8: "Int8Array",
      int16: "Int16Array",
      int32: "Int32Array",
      int64: "BigInt64Array",
      uint8: "Uint8Array",
      uint16: "Uint16Array",
      uint32: "Uint32Array",
      uint64: "BigUint64Array",
      bool: "Uint8Array",
      complex64: "Float32Array",
      complex128: "Float64Array",
    });
    expect(rawArray("complex64", 3).length).toBe(6);
    expect(rawArray("opaque5", 3).length).toBe(15);
  });

  it("refuses data that do not fit", () => {
    expect(code(() => new Tensor({ dtype: "float32", shape: [2, 2], data: new Float32Array(3) }))).toBe(
      "ERR_WEIGHTS_SHAPE",
    );
    expect(code(() => tensor(new Float32Array(3) as never, [3], "float16"))).toBe("ERR_WEIGHTS_DTYPE");
    expect(code(() => rawArray("float64", 2 ** 60))).toBe("ERR_WEIGHTS_MEMORY");
  });

  it("gives float32 and copies of its own", () => {
    const half = tensor(new Uint16Array([0x3c00, 0xc000]), [2, 1], "float16");
    expect([...half.toFloat32()]).toEqual([1, -2]);
    const copy = half.copy();
    copy.data[0] = 0;
    expect(half.data[0]).toBe(0x3c00);
    expect(copy.shape).toEqual([2, 1]);
    const floats = tensor(new Float32Array([1, 2]));
    expect(floats.toFloat32()).not.toBe(floats.data);
    expect([...tensor(new BigInt64Array([5n, -6n])).toFloat32()]).toEqual([5, -6]);
    expect(code(() => tensor(new Float32Array(2), [1], "complex64").toFloat32())).toBe("ERR_WEIGHTS_DTYPE");
    expect(tensor(new Float32Array(4), [2], "complex64").byteLength).toBe(16);
  });

  it("shows float16 as Float16Array where there is one", () => {
    const half = tensor(new Uint16Array([0x3c00]), [1], "float16");
    if ("Float16Array" in globalThis)
      expect([half.asFloat16Array()[0], half.asFloat16Array().buffer]).toEqual([1, half.data.buffer]);
    else expect(code(() => half.asFloat16Array())).toBe("ERR_WEIGHTS_UNSUPPORTED");
    expect(code(() => tensor(new Float32Array(1)).asFloat16Array())).toBe("ERR_WEIGHTS_DTYPE");
  });

  it("is recognized across copies of the package", () => {
    expect(isTensor(tensor(new Float32Array(1)))).toBe(true);
    expect(isTensor(new Float32Array(1))).toBe(false);
    expect(isTensor({ [Symbol.for("keras-weights.Tensor")]: true })).toBe(true);
  });
});

describe("casting", () => {
  const cases: [from: TypedArray | Tensor, to: DType, expected: (number | bigint)[]][] = [
    [new Float64Array([1.9, -1.9, NaN, 1e10, -1e10, 300]), "int8", [1, -1, 0, 127, -128, 127]],
    [new Float32Array([-1.5, 4294967296, Infinity]), "uint32", [0, 4294967295, 4294967295]],
    [
      new Float64Array([1e30, -1e30, Infinity, NaN, -3.7]),
      "int64",
      [2n ** 63n - 1n, -(2n ** 63n), 2n ** 63n - 1n, 0n, -3n],
    ],
    [new Float64Array([1e30, -1]), "uint64", [2n ** 64n - 1n, 0n]],
    [new Int32Array([-1, 256, 70000]), "uint8", [255, 0, 112]],
    [new Int32Array([-1]), "uint64", [2n ** 64n - 1n]],
    [new BigInt64Array([-1n, 2n ** 40n + 5n]), "int32", [-1, 5]],
    [new BigUint64Array([2n ** 64n - 1n]), "int64", [-1n]],
    // Halfway between two float32, and a little more: two roundings would go the wrong way.
    [new BigInt64Array([2n ** 60n + 2n ** 36n, 2n ** 60n + 2n ** 36n + 1n]), "float32", [2 ** 60, 2 ** 60 + 2 ** 37]],
    [new Float32Array([0, -0, 0.1, NaN]), "bool", [0, 0, 1, 1]],
    [new Uint8Array([0, 1, 7]), "bool", [0, 1, 1]],
    [new BigInt64Array([0n, 8n]), "bool", [0, 1]],
    [new Float32Array([1, 0.1]), "float16", [0x3c00, 0x2e66]],
    [new Uint16Array([0x3c00]), "float16", [0x3c00]],
    [tensor(new Uint16Array([2]), [1], "uint16"), "float16", [0x4000]],
    [tensor(new Uint16Array([0x3f80]), [1], "bfloat16"), "float32", [1]],
    [tensor(new Uint16Array([0x3f80]), [1], "bfloat16"), "int64", [1n]],
    [new Float64Array([1.5]), "complex64", [1.5, 0]],
    [tensor(new Float64Array([1.5, 2.5]), [1], "complex128"), "complex64", [1.5, 2.5]],
    [tensor(new Float32Array([1.5, 2.5]), [1], "complex64"), "float64", [1.5]],
    [new Float32Array([448, -0.5]), "float8_e4m3fn", [0x7e, 0xb0]],
  ];
  it.each(cases)("%o to %s", (from, to, expected) => {
    const elements = isTensor(from) ? from.size : from.length;
    const target: RawArray = rawArray(to, elements);
    castInto(target, to, from);
    expect([...(target as Iterable<number | bigint>)]).toEqual(expected);
  });

  it("refuses other lengths and opaque bytes", () => {
    expect(
      code(() => {
        castInto(new Float32Array(2), "float32", new Float32Array(3));
      }),
    ).toBe("ERR_WEIGHTS_SHAPE");
    const opaque = new Tensor({ dtype: "opaque2", shape: [1], data: new Uint8Array(2) });
    expect(
      code(() => {
        castInto(new Float32Array(1), "float32", opaque);
      }),
    ).toBe("ERR_WEIGHTS_DTYPE");
  });

  it("knows what an array class stands for", () => {
    expect([new Float32Array(), new BigUint64Array(), new Uint8ClampedArray(), Buffer.alloc(0)].map(dtypeOf)).toEqual([
      "float32",
      "uint64",
      "uint8",
      "uint8",
    ]);
  });
});

describe("an error", () => {
  it("has a code, the fields that are known, and a cause", () => {
    const cause = new Error("behind");
    const error = new WeightsError("ERR_WEIGHTS_SHAPE", "sentence", { layer: "dense", expected: [1, 2], cause });
    expect(Object.fromEntries(Object.entries(error))).toEqual({
      name: "WeightsError",
      code: "ERR_WEIGHTS_SHAPE",
      layer: "dense",
      expected: [1, 2],
    });
    expect(error.cause).toBe(cause);
    expect(error.message).toBe("sentence");
    expect(error).toBeInstanceOf(Error);
    expect("file" in error).toBe(false);
  });

  it("is recognized by its mark and codes", () => {
    const error: unknown = new WeightsError("ERR_WEIGHTS_IO", "x");
    expect(isWeightsError(error)).toBe(true);
    expect(isWeightsError(error, "ERR_WEIGHTS_IO", "ERR_WEIGHTS_EXISTS")).toBe(true);
    expect(isWeightsError(error, "ERR_WEIGHTS_EXISTS")).toBe(false);
    expect([new Error("x"), null, undefined, "ERR_WEIGHTS_IO"].map((other) => isWeightsError(other))).toEqual([
      false,
      false,
      false,
      false,
    ]);
    expect(new Set(errorCodes).size).toBe(errorCodes.length);
  });
});
