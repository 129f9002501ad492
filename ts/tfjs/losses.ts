// What a model of TensorFlow.js was compiled with, in Keras' words.
import { isList, isObject, type Json } from "../config/json.ts";
import type { Problems } from "./problems.ts";

const losses: ReadonlyMap<string, string> = new Map([
  ["meanSquaredError", "mean_squared_error"],
  ["meanAbsoluteError", "mean_absolute_error"],
  ["meanAbsolutePercentageError", "mean_absolute_percentage_error"],
  ["meanSquaredLogarithmicError", "mean_squared_logarithmic_error"],
  ["squaredHinge", "squared_hinge"],
  ["hinge", "hinge"],
  ["categoricalHinge", "categorical_hinge"],
  ["logcosh", "log_cosh"],
  ["categoricalCrossentropy", "categorical_crossentropy"],
  ["sparseCategoricalCrossentropy", "sparse_categorical_crossentropy"],
  ["binaryCrossentropy", "binary_crossentropy"],
  ["kullbackLeiblerDivergence", "kl_divergence"],
  ["poisson", "poisson"],
  ["cosineProximity", "cosine_similarity"],
]);

/** Left out: TensorFlow.js' `precision` counts only outputs of exactly 1, and its `cosine` has the other sign. */
const metrics: ReadonlyMap<string, string> = new Map([
  ["accuracy", "accuracy"],
  ["acc", "accuracy"],
  ["crossentropy", "crossentropy"],
  ["ce", "crossentropy"],
  ["binaryAccuracy", "binary_accuracy"],
  ["categoricalAccuracy", "categorical_accuracy"],
  ["categoricalCrossentropy", "categorical_crossentropy"],
  ["sparseCategoricalCrossentropy", "sparse_categorical_crossentropy"],
  ["mse", "mean_squared_error"],
  ["MSE", "mean_squared_error"],
  ["mae", "mean_absolute_error"],
  ["MAE", "mean_absolute_error"],
  ["mape", "mean_absolute_percentage_error"],
  ["MAPE", "mean_absolute_percentage_error"],
]);

/** Losses in Keras' names; those that are functions are refused, for nobody could train on. */
export function kerasLoss(loss: unknown, problems: Problems): Json {
  if (loss === undefined || loss === null || (isList(loss) && (loss as Json[]).length === 0)) return null;
  return mapped(loss, (one) => {
    const name = typeof one === "string" ? losses.get(one) : undefined;
    if (name !== undefined) return name;
    const what = typeof one === "string" ? `"${one}"` : "a function";
    problems.refuse(
      "the loss",
      typeof one,
      `Keras has no loss that is ${what} (includeOptimizer: false leaves it out)`,
    );
    return null;
  });
}

/** Metrics in Keras' names; those that it does not have are left out, with a note for each. */
export function kerasMetrics(given: unknown, problems: Problems): Json {
  if (given === undefined || given === null) return null;
  const found = mapped(given, (one) => {
    const name = typeof one === "string" ? metrics.get(one) : undefined;
    if (name !== undefined) return name;
    const what = typeof one === "string" ? `"${one}"` : "that is a function";
    problems.note("the metrics", `Keras has no metric ${what}: it is left out`);
    return null;
  });
  return withoutNulls(typeof found === "string" ? [found] : found);
}

function mapped(value: unknown, change: (one: unknown) => Json): Json {
  if (Array.isArray(value)) return value.map((item) => mapped(item, change));
  if (typeof value !== "object" || value === null) return change(value);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapped(item, change)]));
}

function withoutNulls(value: Json): Json {
  if (isList(value)) return value.filter((item) => item !== null).map((item) => withoutNulls(item));
  if (!isObject(value)) return value;
  const kept = Object.entries(value).filter(([, item]) => item !== null);
  return Object.fromEntries(kept.map(([key, item]) => [key, withoutNulls(item)]));
}
