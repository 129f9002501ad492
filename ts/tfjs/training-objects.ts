// Initializers, regularizers and constraints: no prediction depends on them, so what TensorFlow.js does not have is
// left out with a note and not refused.
import { isObject, type Json, type JsonObject } from "../config/json.ts";

/** A translated object, and what should be known of it. */
export interface Translated {
  readonly value: Json;
  readonly note?: string;
}

interface Entry {
  readonly className: string;
  readonly config: JsonObject;
}

function entryOf(value: Json): Entry | undefined {
  if (!isObject(value)) return undefined;
  const { class_name: className, config } = value;
  return typeof className === "string" ? { className, config: isObject(config) ? config : {} } : undefined;
}

function pick(config: JsonObject, keys: readonly string[]): JsonObject {
  const entries = keys.map((key) => [key, config[key]] as const);
  return Object.fromEntries(entries.filter((entry): entry is readonly [string, Json] => entry[1] !== undefined));
}

const initializerNames: ReadonlyMap<string, string> = new Map([
  ["LecunNormal", "LeCunNormal"],
  ["LecunUniform", "LeCunUniform"],
  ["OrthogonalInitializer", "Orthogonal"],
  ["IdentityInitializer", "Identity"],
]);

const initializerFields: ReadonlyMap<string, readonly string[]> = new Map([
  ["Zeros", []],
  ["Ones", []],
  ["Constant", ["value"]],
  ["RandomUniform", ["minval", "maxval", "seed"]],
  ["RandomNormal", ["mean", "stddev", "seed"]],
  ["TruncatedNormal", ["mean", "stddev", "seed"]],
  ["Identity", ["gain"]],
  ["GlorotUniform", ["seed"]],
  ["GlorotNormal", ["seed"]],
  ["HeNormal", ["seed"]],
  ["HeUniform", ["seed"]],
  ["LeCunNormal", ["seed"]],
  ["LeCunUniform", ["seed"]],
  ["Orthogonal", ["gain", "seed"]],
  ["VarianceScaling", ["scale", "mode", "distribution", "seed"]],
]);

/** An initializer; TensorFlow.js takes `null` for the layer's own. */
export function translateInitializer(value: Json): Translated {
  const entry = entryOf(value) ?? (typeof value === "string" ? { className: camel(value), config: {} } : undefined);
  if (entry === undefined) return { value: null };
  const className = initializerNames.get(entry.className) ?? entry.className;
  const fields = initializerFields.get(className);
  if (fields === undefined) {
    return { value: null, note: `TensorFlow.js has no initializer ${entry.className}; its own default stands in` };
  }
  const config = { ...pick(entry.config, fields) };
  // A seed that is not a number (Keras 3 writes generators too) is of no use there.
  if (typeof config["seed"] !== "number") Reflect.deleteProperty(config, "seed");
  if (className === "VarianceScaling" && config["distribution"] === "truncated_normal") {
    Object.assign(config, { distribution: "normal" });
  } else if (className === "VarianceScaling" && config["distribution"] === "untruncated_normal") {
    return { value: null, note: `TensorFlow.js has no untruncated VarianceScaling; its own default stands in` };
  }
  return { value: { class_name: className, config } };
}

/** `glorot_uniform` → `GlorotUniform` */
function camel(name: string): string {
  if (/^[A-Z]/u.test(name)) return name;
  return name.replaceAll(/(?:^|_)([a-z])/gu, (_match, letter: string) => letter.toUpperCase());
}

/** A regularizer. Keras writes L1, L2 and L1L2; TensorFlow.js has the last. */
export function translateRegularizer(value: Json): Translated {
  if (value === null) return { value };
  const entry = entryOf(value) ?? (typeof value === "string" ? { className: camel(value), config: {} } : undefined);
  const known = entry === undefined ? undefined : /^(?:L1|L2|L1L2)$/iu.test(entry.className.replace("_", ""));
  if (entry === undefined || known !== true) {
    return {
      value: null,
      note: `TensorFlow.js has no regularizer ${entry?.className ?? "of that kind"}: it is left out`,
    };
  }
  const amount = (key: "l1" | "l2"): number => {
    const given = entry.config[key];
    if (typeof given === "number") return given;
    // A bare name means Keras' default of 0.01 for its own part.
    return typeof value === "string" && entry.className.toLowerCase().includes(key) ? 0.01 : 0;
  };
  return { value: { class_name: "L1L2", config: { l1: amount("l1"), l2: amount("l2") } } };
}

const constraintFields: ReadonlyMap<string, readonly string[]> = new Map([
  ["MaxNorm", ["max_value", "axis"]],
  ["UnitNorm", ["axis"]],
  ["NonNeg", []],
  ["MinMaxNorm", ["min_value", "max_value", "rate", "axis"]],
]);

/** A constraint. */
export function translateConstraint(value: Json): Translated {
  if (value === null) return { value };
  const entry = entryOf(value) ?? (typeof value === "string" ? { className: camel(value), config: {} } : undefined);
  const fields = entry === undefined ? undefined : constraintFields.get(entry.className);
  if (entry === undefined || fields === undefined) {
    return {
      value: null,
      note: `TensorFlow.js has no constraint ${entry?.className ?? "of that kind"}: it is left out`,
    };
  }
  return { value: { class_name: entry.className, config: pick(entry.config, fields) } };
}
