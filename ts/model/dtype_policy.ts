import { isObject, textAt, type Json } from "../config/json.ts";
import type { Flavor } from "./flavor.ts";
import { fail } from "./failure.ts";

/** How quantized layers keep their kernels. */
export type QuantizationMode = "int8" | "int4" | "float8" | "gptq" | "awq";

/** What a layer computes in and what it keeps its weights in. */
export interface DTypePolicy {
  /** As Keras names it: `float32`, `mixed_bfloat16`, `int8_from_float32`. */
  readonly name: string;
  readonly compute: string;
  readonly variable: string;
  readonly quantization?: QuantizationMode;
  /** The config it came from, when that says more than the name. */
  readonly source?: Json;
}

/** A dtype (`"float16"`), a policy (`"mixed_bfloat16"`), or Keras' config of one. */
export type DTypeSetting = string | Json;

const modes: readonly QuantizationMode[] = ["int8", "int4", "float8", "gptq", "awq"];
const canonical: Readonly<Record<string, string>> = { half: "float16", float: "float32", double: "float64" };

/** The policy that stands when nobody says one. */
export const defaultPolicy: DTypePolicy = { name: "float32", compute: "float32", variable: "float32" };

/** Reads a dtype or policy out of a config or an option. */
export function parsePolicy(setting: DTypeSetting | undefined): DTypePolicy {
  if (setting === undefined || setting === null) return defaultPolicy;
  if (typeof setting === "string") return namedPolicy(setting);
  if (!isObject(setting)) return fail("ERR_WEIGHTS_CONFIG", "a dtype is a name or a policy object");
  const config = isObject(setting["config"]) ? setting["config"] : {};
  const mode = textAt(config, "mode");
  if (mode !== undefined) {
    const base = parsePolicy(config["source_name"] ?? null);
    return { ...base, name: `${mode}_from_${base.name}`, quantization: quantizationMode(mode), source: setting };
  }
  const name = textAt(config, "name") ?? textAt(setting, "name");
  if (textAt(setting, "class_name") === "DTypePolicyMap") return { ...defaultPolicy, source: setting };
  if (name === undefined) return fail("ERR_WEIGHTS_CONFIG", "a dtype policy without a name");
  return namedPolicy(name);
}

function namedPolicy(name: string): DTypePolicy {
  const quantized = /^(int8|int4|float8|gptq|awq)(?:\/[^_]*)?_from_(.+)$/.exec(name);
  if (quantized)
    return { ...namedPolicy(quantized[2] ?? ""), name, quantization: quantizationMode(quantized[1] ?? "") };
  if (name.startsWith("mixed_")) return { name, compute: name.slice("mixed_".length), variable: "float32" };
  const dtype = canonical[name] ?? name;
  return { name: dtype, compute: dtype, variable: dtype };
}

function quantizationMode(mode: string): QuantizationMode {
  const base = mode.split("/")[0];
  const known = modes.find((candidate) => candidate === base);
  return known ?? fail("ERR_WEIGHTS_CONFIG", `the quantization mode "${mode}" is not one that Keras has`);
}

/** The policy as each Keras writes it into a config. */
export function policyConfig(policy: DTypePolicy, flavor: Flavor): Json {
  if (policy.source !== undefined) return policy.source;
  if (policy.quantization !== undefined) return quantizedConfig(policy);
  if (flavor === "keras2") {
    if (!policy.name.startsWith("mixed_")) return policy.name;
    return {
      module: "keras.mixed_precision",
      class_name: "Policy",
      config: { name: policy.name },
      registered_name: null,
    };
  }
  return { module: "keras", class_name: "DTypePolicy", config: { name: policy.name }, registered_name: null };
}

function quantizedConfig({ name, quantization }: DTypePolicy): Json {
  const [, mode = "", source = ""] = /^(.*?)_from_(.*)$/.exec(name) ?? [];
  const classes: Readonly<Record<QuantizationMode, string>> = {
    int8: "QuantizedDTypePolicy",
    int4: mode.includes("/") ? "Int4DTypePolicy" : "QuantizedDTypePolicy",
    float8: "QuantizedFloat8DTypePolicy",
    gptq: "GPTQDTypePolicy",
    awq: "AWQDTypePolicy",
  };
  const history = quantization === "float8" ? { amax_history_length: 1024 } : {};
  const config = { mode, source_name: source, ...history };
  const className = quantization === undefined ? "DTypePolicy" : classes[quantization];
  return { module: "keras.dtype_policies", class_name: className, config, registered_name: null };
}
