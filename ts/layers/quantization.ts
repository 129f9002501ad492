import { isObject, type Json } from "../config/json.ts";
import { parseInitializer, type Initializer } from "../initializers.ts";
import type { DTypePolicy, QuantizationMode } from "../model/dtype_policy.ts";
import { sizeOf } from "../model/shape.ts";
import { weight, type WeightSpec } from "./definition.ts";

/** The kernel of a layer that Keras can quantize and give low-rank updates (LoRA). */
export interface KernelSpec {
  /** `kernel`, or `embeddings`. */
  readonly attr: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  /** Axes that keep a scale of their own, in the order of the scale. */
  readonly kept: readonly number[];
  /** Shape of the int8 scale. */
  readonly scale: readonly number[];
  /** The matrix that int4 packs along its second axis, and which of its axes is cut into blocks. */
  readonly matrix: readonly [rows: number, columns: number];
  readonly blocks: "rows" | "columns";
  /** The matrix that calibrated modes (gptq, awq) see, when it is another; and their name of the zero points. */
  readonly calibrated?: { readonly matrix: readonly [rows: number, columns: number]; readonly zero: string };
}

/** Config entries of such a layer. */
export interface KernelConfig {
  readonly lora_rank: number | null;
  readonly lora_alpha: number | null;
  readonly quantization_config: Json;
}

const zeros = parseInitializer("zeros");
const ones = parseInitializer("ones");
const fixed = { trainable: false } as const;
const historyLength = 1024;

/** A kernel of two axes: inputs and units. */
export function matrixKernel(attr: string, shape: readonly [number, number], initializer: Initializer): KernelSpec {
  return { attr, shape, initializer, kept: [1], scale: [shape[1]], matrix: shape, blocks: "rows" };
}

/** An embedding's matrix: a scale for each row, blocks along the row. */
export function embeddingKernel(shape: readonly [number, number], initializer: Initializer): KernelSpec {
  return { attr: "embeddings", shape, initializer, kept: [0], scale: [shape[0]], matrix: shape, blocks: "columns" };
}

/** A convolution kernel, which takes low-rank updates only. */
export function convolutionKernel(shape: readonly number[], initializer: Initializer): KernelSpec {
  const last = shape.at(-1) ?? 1;
  const matrix = [sizeOf(shape) / last, last] as const;
  return { attr: "kernel", shape, initializer, kept: [shape.length - 1], scale: [last], matrix, blocks: "rows" };
}

/** The scale of an update is its rank unless said otherwise. */
export function withAlpha<C extends KernelConfig>(config: C): C {
  return config.lora_rank === null || config.lora_alpha !== null ? config : { ...config, lora_alpha: config.lora_rank };
}

/** Weights of a layer with such a kernel, in the order in which Keras makes them when it builds from a config. */
export function kernelWeights(
  policy: DTypePolicy,
  config: KernelConfig,
  kernel: KernelSpec,
  others: readonly (WeightSpec | false)[],
): (WeightSpec | false)[] {
  const { quantization } = policy;
  const rank = config.lora_rank;
  const lowRank = rank === null || rank === 0 ? [] : lowRankWeights(kernel, rank);
  const plain = weight(kernel.attr, kernel.shape, kernel.initializer, { frozen: lowRank.length > 0 });
  const replaces = quantization !== undefined && quantization !== "float8";
  const made = quantization === undefined ? [] : quantizedWeights(quantization, policy, config, kernel);
  return [...made, !replaces && plain, ...others, ...lowRank];
}

/** The two factors of a low-rank update; always float32. */
export function lowRankWeights(kernel: KernelSpec, rank: number): WeightSpec[] {
  const float = { dtype: "float32" } as const;
  const [a, b] = [`lora_${kernel.attr}_a`, `lora_${kernel.attr}_b`];
  return [
    weight(a, [...kernel.shape.slice(0, -1), rank], parseInitializer("he_uniform"), float),
    weight(b, [rank, kernel.shape.at(-1) ?? 1], zeros, float),
  ];
}

function quantizedWeights(
  mode: QuantizationMode,
  policy: DTypePolicy,
  config: KernelConfig,
  kernel: KernelSpec,
): WeightSpec[] {
  const { attr, matrix, scale } = kernel;
  if (mode === "gptq" || mode === "awq") return calibratedWeights(mode, policy, kernel);
  const [rows, columns] = matrix;
  if (mode === "float8") return float8Weights(policy);
  if (mode === "int8") {
    return [
      weight(attr, kernel.shape, zeros, { ...fixed, dtype: "int8" }),
      weight(`${attr}_scale`, scale, ones, fixed),
    ];
  }
  const block = blockSize(policy, config);
  const packed = weight(attr, [rows, Math.ceil(columns / 2)], zeros, { ...fixed, dtype: "int8" });
  if (block === undefined) {
    return [packed, weight(`${attr}_scale`, [kernel.blocks === "rows" ? columns : rows], ones, fixed)];
  }
  const cut = kernel.blocks === "rows" ? rows : columns;
  const groups = Math.ceil(cut / block);
  const scales = kernel.blocks === "rows" ? [groups, columns] : [rows, groups];
  return [
    packed,
    weight(`${attr}_scale`, scales, ones, fixed),
    weight(`${attr}_zero`, scales, zeros, { ...fixed, dtype: "int8" }),
    weight("g_idx", [cut], { className: "GroupIndex", config: { block } }, { ...fixed, dtype: "float32" }),
  ];
}

function calibratedWeights(mode: "gptq" | "awq", policy: DTypePolicy, kernel: KernelSpec): WeightSpec[] {
  const { matrix, zero } = kernel.calibrated ?? { matrix: kernel.matrix, zero: "kernel_zero" };
  const [rows, columns] = matrix;
  const { bits, group } = modeNumbers(policy);
  const groups = group === -1 ? 1 : Math.ceil(rows / group);
  const units = bits === 4 || mode === "awq" ? Math.ceil(columns / 2) : columns;
  return [
    weight("quantized_kernel", [units, rows], zeros, { ...fixed, name: "kernel", dtype: "uint8" }),
    weight("kernel_scale", [columns, groups], ones, fixed),
    weight("kernel_zero", [columns, groups], zeros, { ...fixed, name: zero, dtype: "uint8" }),
    ...(mode === "awq" ? [weight("awq_scales", [rows], ones, fixed)] : []),
    weight("g_idx", [rows], zeros, { ...fixed, dtype: "float32" }),
  ];
}

function float8Weights(policy: DTypePolicy): WeightSpec[] {
  const float = { dtype: "float32" } as const;
  const source = isObject(policy.source) && isObject(policy.source["config"]) ? policy.source["config"] : {};
  const length = source["amax_history_length"];
  return ["inputs", "kernel", "outputs_grad"].flatMap((of) => [
    weight(`${of}_scale`, [], ones, float),
    weight(`${of}_amax_history`, [typeof length === "number" ? length : historyLength], zeros, float),
  ]);
}

/** The block of int4: of the layer's own config, else of the policy (`int4/128`); undefined: one scale a channel. */
export function blockSize(policy: DTypePolicy, config: KernelConfig): number | undefined {
  const own = config.quantization_config;
  const inner = isObject(own) && isObject(own["config"]) ? own["config"]["block_size"] : undefined;
  if (isObject(own)) return typeof inner === "number" && inner > 0 ? inner : undefined;
  const { bits } = modeNumbers(policy);
  return bits > 0 ? bits : undefined;
}

/** The numbers of `int4/128` and `gptq/4/128`. */
function modeNumbers(policy: DTypePolicy): { bits: number; group: number } {
  const mode = /^[a-z0-9]+((?:\/-?\d+)*)(?:_from|$)/.exec(policy.name)?.[1] ?? "";
  const [bits = -1, group = -1] = mode.split("/").slice(1).map(Number);
  return { bits, group };
}

const savedByMode: Readonly<Record<QuantizationMode | "none", readonly string[]>> = {
  none: ["*", "bias"],
  int8: ["*", "bias", "*_scale"],
  int4: ["*", "bias", "*_scale", "*_zero", "g_idx"],
  float8: [
    ...["*", "bias", "inputs_scale", "inputs_amax_history", "kernel_scale", "kernel_amax_history"],
    ...["outputs_grad_scale", "outputs_grad_amax_history"],
  ],
  // Keras means to save the zero points of these two, and does not.
  gptq: ["bias", "quantized_kernel", "kernel_scale", "g_idx"],
  awq: ["bias", "quantized_kernel", "kernel_scale", "awq_scales", "g_idx"],
};

/** Attributes that a Keras 3 file holds of the layer, in order; those that the layer has not are skipped. */
export function savedAttributes(policy: DTypePolicy, attr: string): readonly string[] {
  const names = savedByMode[policy.quantization ?? "none"].map((name) => name.replace("*", attr));
  return [...names, "reverse_embeddings", "reverse_embeddings_scale", "reverse_embeddings_zero"];
}
