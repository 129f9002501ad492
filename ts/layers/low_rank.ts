import { fail } from "../model/failure.ts";
import type { QuantizationMode } from "../model/dtype_policy.ts";
import { sizeOf } from "../model/shape.ts";
import { Variable } from "../model/variable.ts";
import { castInto, rawArray, type RawArray } from "../tensor.ts";
import type { KernelSpec } from "./quantization.ts";

/** What a low-rank update (LoRA) of a kernel consists of. */
export interface LowRank {
  readonly spec: KernelSpec;
  readonly mode: QuantizationMode | undefined;
  readonly kernel: Variable;
  /** The int8 kernel's multipliers. */
  readonly scale: Variable | undefined;
  readonly a: Variable;
  readonly b: Variable;
  /** What the product is multiplied by: `lora_alpha / lora_rank`. */
  readonly factor: number;
}

/**
 * A value that exists for a file only: the kernel with its update merged in, or the scale of the merged int8 kernel.
 * Loaded from a file, it goes into the kernel itself and the update becomes zero, as in Keras.
 */
export class MergedVariable extends Variable {
  readonly #update: LowRank;
  readonly #part: "kernel" | "scale";

  constructor(update: LowRank, standsFor: Variable, part: "kernel" | "scale") {
    super({ ...standsFor.options, trainable: false, virtual: true });
    this.#update = update;
    this.#part = part;
    this.standsFor = standsFor;
  }

  /** The variable that takes the file's value. */
  override readonly standsFor: Variable;

  /** Grows when one of its sources does. */
  override get version(): number {
    const { kernel, scale, a, b } = this.#update;
    return kernel.version + (scale?.version ?? 0) + a.version + b.version;
  }

  override read(): RawArray {
    const { spec, mode, kernel } = this.#update;
    const merged = mergedKernel(this.#update);
    if (mode === "int8") {
      const { quantized, scale } = quantizeInt8(merged, spec);
      if (this.#part === "kernel") return quantized;
      return cast(scale, this.standsFor);
    }
    return cast(merged, kernel);
  }

  /** The file's value is in place: what it had merged is no update any more. */
  override loaded(): void {
    for (const factor of [this.#update.a, this.#update.b]) factor.replace(rawArray(factor.dtype, factor.size));
  }
}

function cast(values: Float32Array, as: Variable): RawArray {
  const raw = rawArray(as.dtype, values.length);
  castInto(raw, as.dtype, values);
  return raw;
}

function numbers(variable: Variable): Float32Array {
  const values = new Float32Array(variable.size);
  const raw = variable.read();
  if (raw instanceof Float32Array) values.set(raw);
  else castInto(values, "float32", variable.tensor());
  return values;
}

function mergedKernel({ spec, mode, kernel, scale, a, b, factor }: LowRank): Float32Array {
  if (mode !== undefined && mode !== "int8" && mode !== "float8") {
    return fail("ERR_WEIGHTS_UNSUPPORTED", `a ${mode} kernel with a low-rank update cannot be merged`, {
      weight: kernel.path,
    });
  }
  const base = numbers(kernel);
  if (mode === "int8" && scale !== undefined) {
    const scales = numbers(scale);
    const place = scalePlace(spec);
    for (let i = 0; i < base.length; i += 1) base[i] = (base[i] ?? 0) / (scales[place(i)] ?? 1);
  }
  const rank = b.shape[0] ?? 1;
  const columns = b.shape[1] ?? 1;
  const left = numbers(a);
  const right = numbers(b);
  for (let i = 0; i < base.length; i += 1) {
    const row = Math.floor(i / columns);
    const column = i % columns;
    let sum = 0;
    for (let k = 0; k < rank; k += 1) sum += (left[row * rank + k] ?? 0) * (right[k * columns + column] ?? 0);
    base[i] = (base[i] ?? 0) + factor * sum;
  }
  return base;
}

/** Which scale belongs to an element of the kernel, by its number. */
function scalePlace({ shape, kept }: KernelSpec): (element: number) => number {
  const strides = shape.map((_, axis) => sizeOf(shape.slice(axis + 1)));
  return (element) =>
    kept.reduce((place, axis) => {
      const length = shape[axis] ?? 1;
      return place * length + (Math.floor(element / (strides[axis] ?? 1)) % length);
    }, 0);
}

/** Keras' symmetric int8: the largest of a channel becomes 127, halves round to even. */
function quantizeInt8(values: Float32Array, spec: KernelSpec): { quantized: Int8Array; scale: Float32Array } {
  const place = scalePlace(spec);
  const largest = new Float32Array(sizeOf(spec.kept.map((axis) => spec.shape[axis] ?? 1)));
  for (let i = 0; i < values.length; i += 1) {
    const at = place(i);
    largest[at] = Math.max(largest[at] ?? 0, Math.abs(values[i] ?? 0));
  }
  const scale = largest.map((most) => 127 / Math.fround(most + Math.fround(1e-7)));
  const quantized = new Int8Array(values.length);
  for (let i = 0; i < values.length; i += 1) {
    const scaled = Math.fround((values[i] ?? 0) * (scale[place(i)] ?? 1));
    quantized[i] = Math.max(-127, Math.min(127, roundHalfEven(scaled)));
  }
  return { quantized, scale };
}

function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  if (rest !== 0.5) return Math.round(value);
  return floor % 2 === 0 ? floor : floor + 1;
}
