// Which value a callback watches, which direction is better, and what the best one was: Keras' rules, per flavour.
import { WeightsError } from "../errors.ts";

/** Whether a lower or a higher value is better; "auto" finds out as Keras does. */
export type MonitorMode = "auto" | "min" | "max";

/** A metric that a model was compiled with. */
export interface MetricLike {
  /** Its name in the logs, without `val_`. */
  readonly name: string;
  /** Whether higher ("up") or lower ("down") is better; default: what Keras says of its own metric of that name. */
  readonly direction?: "up" | "down";
}

// Keras 3 keeps a direction in each of its metrics; these are the names the metrics have by default.
const higherIsBetter = [
  ...["accuracy", "binary_accuracy", "categorical_accuracy", "sparse_categorical_accuracy"],
  ...["top_k_categorical_accuracy", "sparse_top_k_categorical_accuracy", "cosine_similarity"],
  ...["auc", "precision", "recall", "f1_score", "fbeta_score", "r2_score"],
  ...["precision_at_recall", "recall_at_precision", "sensitivity_at_specificity", "specificity_at_sensitivity"],
  ...["io_u", "binary_io_u", "mean_io_u", "one_hot_io_u", "one_hot_mean_io_u"],
  ...["pearson_correlation", "concordance_correlation"],
];
const lowerIsBetter = [
  ...["mean_squared_error", "mse", "mean_absolute_error", "mae", "root_mean_squared_error"],
  ...["mean_absolute_percentage_error", "mape", "mean_squared_logarithmic_error", "msle", "logcosh"],
  ...["binary_crossentropy", "categorical_crossentropy", "sparse_categorical_crossentropy"],
  ...["hinge", "squared_hinge", "categorical_hinge", "kl_divergence", "poisson"],
];

const directions: ReadonlyMap<string, "up" | "down"> = new Map([
  ...higherIsBetter.map((name) => [name, "up"] as const),
  ...lowerIsBetter.map((name) => [name, "down"] as const),
]);

/** `min` or `max` by the name alone, as Keras 2 decides it. */
export function directionByName(monitor: string): "min" | "max" {
  return monitor.includes("acc") || monitor.startsWith("fmeasure") ? "max" : "min";
}

/**
 * `min` or `max` by the metrics that the model was compiled with, as Keras 3 decides it.
 *
 * @throws ERR_WEIGHTS_ARGUMENT when no metric says so.
 */
export function directionByMetrics(
  owner: string,
  monitor: string,
  metrics: readonly (string | MetricLike)[],
): "min" | "max" {
  const name = monitor.startsWith("val_") ? monitor.slice("val_".length) : monitor;
  let direction: "up" | "down" | undefined = name === "loss" ? "down" : undefined;
  for (const metric of metrics) {
    const found = typeof metric === "string" ? { name: metric } : metric;
    if (found.name === name) direction = found.direction ?? directions.get(name) ?? direction;
  }
  if (direction === undefined) {
    throw new WeightsError(
      "ERR_WEIGHTS_ARGUMENT",
      `${owner}: whether a higher or a lower "${monitor}" is better cannot be told, because the model was not compiled ` +
        `with a metric "${name}" whose direction is known; pass mode: "max" or mode: "min"`,
      { found: monitor },
    );
  }
  return direction === "up" ? "max" : "min";
}

/** Strictly better; an equal value and NaN are not. */
export function isBetter(current: number, best: number, direction: "min" | "max"): boolean {
  return direction === "min" ? current < best : current > best;
}
