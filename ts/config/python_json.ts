import type { Json } from "./json.ts";

/** Settings that Keras takes as floats only: in JSON, Python tells 1.0 from 1. */
const floats: ReadonlySet<string> = new Set([
  "alpha",
  "beta_1",
  "beta_2",
  "clipnorm",
  "clipvalue",
  "decay",
  "decay_rate",
  "ema_momentum",
  "end_learning_rate",
  "epsilon",
  "global_clipnorm",
  "initial_accumulator_value",
  "initial_learning_rate",
  "initial_scale",
  "learning_rate",
  "momentum",
  "power",
  "rho",
  "warmup_target",
  "weight_decay",
]);

const mark = "\u0001float:";

/** JSON text in ASCII that Python reads back with the types that Keras wants. */
export function pythonJson(value: Json): string {
  const text = JSON.stringify(value, (key, item: unknown) =>
    typeof item === "number" && Number.isSafeInteger(item) && floats.has(key) ? `${mark}${item}` : item,
  );
  return text
    .replaceAll(/"\\u0001float:(-?\d+)"/gu, "$1.0")
    .replaceAll(/[\u007f-\uffff]/gu, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}
