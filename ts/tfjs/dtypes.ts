// Dtypes and dtype policies: TensorFlow.js computes in float32 and int32, whatever a config asks for.
import { isObject, textAt, type Json } from "../config/json.ts";

const whole = new Set(["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]);

/** The name of a dtype or of a policy object; undefined when a config says none. */
export function policyName(value: Json | undefined): string | undefined {
  if (typeof value === "string") return value;
  if (!isObject(value)) return undefined;
  const { config } = value;
  if (!isObject(config)) return textAt(value, "class_name");
  const mode = textAt(config, "mode");
  if (mode !== undefined) return `${mode}_from_${textAt(config, "source_name") ?? "float32"}`;
  return textAt(config, "name") ?? textAt(value, "class_name");
}

/** Why a layer of this policy would compute otherwise there; undefined when it would not. */
export function policyProblem(name: string | undefined, computeInFloat32: boolean): string | undefined {
  if (name === undefined || name === "float32" || name === "_infer" || whole.has(name) || name === "bool")
    return undefined;
  if (/^(?:mixed_)?(?:float16|bfloat16)$/u.test(name) || name === "float64") {
    if (computeInFloat32) return undefined;
    return `it computes in ${name}, and TensorFlow.js in float32 (allow it with dtype: "float32")`;
  }
  return `its dtype policy is ${name}`;
}

/** The dtype of an input there; undefined when there is none. */
export function inputDtype(name: string | undefined): "float32" | "int32" | "bool" | undefined {
  if (name === undefined || /^(?:bfloat16|float(?:16|32|64))$/u.test(name)) return "float32";
  if (whole.has(name)) return "int32";
  return name === "bool" ? "bool" : undefined;
}
