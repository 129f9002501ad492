// Values between TensorFlow.js and us.
import { WeightsError } from "../errors.ts";
import { Tensor } from "../tensor.ts";
import type { Variable } from "../model/variable.ts";
import type { TfNamespaceLike, TfTensorLike, TfVariableLike } from "./structural.ts";

interface TfAssignable extends TfTensorLike {
  assign(value: TfTensorLike): void;
}

/**
 * Gives a weight new values. The array is taken over and not copied: TensorFlow.js never writes into it, and neither
 * may anyone else.
 *
 * Not by the layer variable's own `write`: that applies constraints, which no load of Keras does.
 */
export function assignValues(tf: TfNamespaceLike, variable: TfVariableLike, values: Float32Array): void {
  const tensor = tf.tensor(values as never, variable.shape as never, "float32" as never);
  try {
    (variable.read() as TfAssignable).assign(tensor);
  } finally {
    tensor.dispose();
  }
}

/** The values of a variable of ours as float32; its own array where it is that already. */
export function float32Of(variable: Variable): Float32Array {
  const { path, dtype, shape } = variable;
  const data = variable.read();
  if (dtype === "float32") return data as Float32Array;
  return new Tensor({ path, dtype, shape, data }).toFloat32();
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
