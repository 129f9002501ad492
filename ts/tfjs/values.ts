// Values between TensorFlow.js and us.
import { WeightsError } from "../errors.ts";
import type { Variable } from "../model/variable.ts";
import { tensorOf } from "../model/weights.ts";
import type { TfTensorLike, TfVariableLike } from "./structural.ts";

/** What a variable of TensorFlow.js has besides a tensor's. */
interface TfVariable extends TfTensorLike {
  assign(value: TfTensorLike): void;
  bufferSync(): object;
}

type TensorBufferClass = new (
  shape: readonly (number | null)[],
  dtype: string,
  values: Float32Array,
) => { toTensor(): TfTensorLike };

/**
 * Gives a weight new values. The array is taken over and not copied: TensorFlow.js never writes into it, and neither
 * may anyone else.
 *
 * Not by the layer variable's own `write`: that applies constraints, which no load of Keras does.
 */
export function assignValues(variable: TfVariableLike, values: Float32Array): void {
  const value = variable.read() as TfVariable;
  // A tensor of the same copy of TensorFlow.js, without asking anyone for its namespace.
  const TensorBuffer = value.bufferSync().constructor as TensorBufferClass;
  const tensor = new TensorBuffer(variable.shape, "float32", values).toTensor();
  try {
    value.assign(tensor);
  } finally {
    tensor.dispose();
  }
}

/** The values of a variable of ours as float32; its own array where it is that already. */
export function float32Of(variable: Variable): Float32Array {
  return variable.dtype === "float32" ? (variable.read() as Float32Array) : tensorOf(variable).toFloat32();
}

function float32(values: ArrayLike<number>, variable: TfVariableLike): Float32Array {
  if (values instanceof Float32Array) return values;
  throw new WeightsError("ERR_WEIGHTS_DTYPE", `${variable.originalName} does not hold float32 values`, {
    weight: variable.originalName,
    expected: "float32",
    found: variable.dtype,
  });
}

/** The values of a weight; on some backends the very array that TensorFlow.js computes with. */
export function valuesSync(variable: TfVariableLike): Float32Array {
  return float32(variable.read().dataSync(), variable);
}

/** {@link valuesSync} for backends that cannot answer at once. */
export async function valuesOf(variable: TfVariableLike): Promise<Float32Array> {
  return float32(await variable.read().data(), variable);
}
