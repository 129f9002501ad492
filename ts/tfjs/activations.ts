// Activation functions of TensorFlow.js by Keras' names.
import type { Flavor } from "../model/flavor.ts";
import { isObject, type Json } from "../config/json.ts";

// Those that compute the same in Keras 2, Keras 3 and TensorFlow.js.
const same = new Set([
  ...["linear", "relu", "relu6", "elu", "selu", "sigmoid", "tanh", "softmax", "log_softmax"],
  ...["softplus", "softsign", "gelu", "mish"],
]);
const renamed: ReadonlyMap<string, string> = new Map([
  ["silu", "swish"],
  ["swish", "swish"],
]);

/** The name of an activation in TensorFlow.js (in Python's spelling), or why there is none. */
export function translateActivation(value: Json | undefined, flavor: Flavor): { name: string } | { reason: string } {
  if (value === null || value === undefined) return { name: "linear" };
  const name = nameOf(value);
  if (name === undefined) return { reason: `its activation is an object of class ${classOf(value)}` };
  if (same.has(name)) return { name };
  const other = renamed.get(name);
  if (other !== undefined) return { name: other };
  if (name === "hard_sigmoid") {
    return flavor === "keras2"
      ? { name }
      : { reason: "hard_sigmoid is relu6(x + 3) / 6 in Keras 3 and 0.2 x + 0.5 in TensorFlow.js" };
  }
  return { reason: `TensorFlow.js has no activation "${name}"` };
}

/** Keras writes names, and functions as `{"class_name": "function", "config": "relu"}`. */
function nameOf(value: Json): string | undefined {
  if (typeof value === "string") return value;
  if (!isObject(value) || value["class_name"] !== "function") return undefined;
  return typeof value["config"] === "string" ? value["config"] : undefined;
}

function classOf(value: Json): string {
  return isObject(value) && typeof value["class_name"] === "string" ? value["class_name"] : typeof value;
}
