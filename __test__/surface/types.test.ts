// The types that users rely on. tsc checks them (`npm run check`); at run time these tests do nothing.
import {
  layers,
  sequential,
  type Layer,
  type LoadReport,
  type Model,
  type SaveReport,
  type Tensor,
  type TensorEntry,
  type TypedArray,
  type WeightsFile,
} from "keras-weights";
import { expectTypeOf, test } from "vitest";

test("each dtype has its array", () => {
  expectTypeOf<Tensor<"float32">["data"]>().toExtend<Float32Array>();
  expectTypeOf<Tensor<"float64">["data"]>().toExtend<Float64Array>();
  expectTypeOf<Tensor<"int8">["data"]>().toExtend<Int8Array>();
  expectTypeOf<Tensor<"int16">["data"]>().toExtend<Int16Array>();
  expectTypeOf<Tensor<"int32">["data"]>().toExtend<Int32Array>();
  expectTypeOf<Tensor<"int64">["data"]>().toExtend<BigInt64Array>();
  expectTypeOf<Tensor<"uint8">["data"]>().toExtend<Uint8Array>();
  expectTypeOf<Tensor<"uint16">["data"]>().toExtend<Uint16Array>();
  expectTypeOf<Tensor<"uint32">["data"]>().toExtend<Uint32Array>();
  expectTypeOf<Tensor<"uint64">["data"]>().toExtend<BigUint64Array>();
  // Raw bits, whatever the runtime has.
  expectTypeOf<Tensor<"float16">["data"]>().toExtend<Uint16Array>();
  expectTypeOf<Tensor<"bfloat16">["data"]>().toExtend<Uint16Array>();
});

test("a tensor", () => {
  expectTypeOf<Tensor["shape"]>().toEqualTypeOf<readonly number[]>();
  expectTypeOf<Tensor<"bfloat16">["toFloat32"]>().returns.toExtend<Float32Array>();
  expectTypeOf<Tensor<"int64">["copy"]>().returns.toEqualTypeOf<Tensor<"int64">>();
});

test("the verbs of models and layers", () => {
  expectTypeOf<Model>().toExtend<Layer>();
  expectTypeOf<Layer["getWeights"]>().returns.toEqualTypeOf<Tensor[]>();
  expectTypeOf<Layer["setWeights"]>().toBeCallableWith([new Float32Array(1)]);
  expectTypeOf<TypedArray[]>().toExtend<Parameters<Layer["setWeights"]>[0]>();
  expectTypeOf<Tensor[]>().toExtend<Parameters<Layer["setWeights"]>[0]>();
  expectTypeOf<Layer["loadWeights"]>().returns.toEqualTypeOf<Promise<LoadReport>>();
  expectTypeOf<Layer["loadWeightsSync"]>().returns.toEqualTypeOf<LoadReport>();
  expectTypeOf<Layer["saveWeights"]>().returns.toEqualTypeOf<Promise<SaveReport>>();
  expectTypeOf<Layer["saveWeights"]>().toBeCallableWith(new URL("file:///w.h5"), { overwrite: false });
  expectTypeOf<Model["getLayer"]>().returns.toEqualTypeOf<Layer>();
});

test("a file", () => {
  expectTypeOf<WeightsFile["entries"]>().returns.toExtend<Iterable<TensorEntry>>();
  expectTypeOf<WeightsFile>().toExtend<AsyncDisposable>();
});

test("what is wrong does not compile", () => {
  const never = (): void => {
    // @ts-expect-error a layer is no number
    sequential([1]);
    // @ts-expect-error useBias is a boolean
    layers.dense(1, { useBias: "yes" });
    // @ts-expect-error there is no such option
    layers.dense(1, { actvation: "relu" });
    // @ts-expect-error there is no such option
    void sequential([]).loadWeights("w.h5", { skipMissmatch: true });
  };
  expectTypeOf(never).toBeFunction();
});
