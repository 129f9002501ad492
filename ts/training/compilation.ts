import { isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import type { Flavor } from "../model/flavor.ts";
import { Optimizer, readOptimizer, type OptimizerSetting } from "../optimizers/optimizer.ts";
import { legacyForm, modernForm } from "./forms.ts";

/**
 * What `compile` is given: names of losses and metrics as Keras takes them, or Keras' configs of them. They are data
 * that goes into whole-model files, for Keras to train on; nothing here trains.
 */
export interface CompileOptions {
  /** `"adam"`, a config, or an {@link Optimizer}. Default `"rmsprop"`, as in Keras. */
  readonly optimizer?: OptimizerSetting | undefined;
  readonly loss?: Json | undefined;
  readonly metrics?: Json | undefined;
  readonly weightedMetrics?: Json | undefined;
  readonly lossWeights?: Json | undefined;
  readonly runEagerly?: boolean | undefined;
  readonly stepsPerExecution?: number | undefined;
  readonly jitCompile?: boolean | "auto" | undefined;
}

const places: Readonly<Record<string, string>> = {
  loss: "keras.losses",
  metrics: "keras.metrics",
  weighted_metrics: "keras.metrics",
};

const defaults: Readonly<Record<Flavor, JsonObject>> = {
  keras3: { run_eagerly: false, steps_per_execution: 1, jit_compile: "auto" },
  keras2: { run_eagerly: null, steps_per_execution: null, jit_compile: null },
};

/** How a model was compiled: the optimizer, and the rest as Keras' data. */
export class Compilation {
  readonly optimizer: Optimizer;
  readonly #flavor: Flavor;
  /** Keras' names: `loss`, `loss_weights`, `metrics`, …. */
  readonly #rest: JsonObject;

  constructor(optimizer: Optimizer, rest: JsonObject) {
    this.optimizer = optimizer;
    this.#flavor = optimizer.flavor;
    this.#rest = rest;
  }

  /** What a caller of `compile` says. */
  static of(options: CompileOptions, flavor: Flavor): Compilation {
    const { loss = null, metrics = null, weightedMetrics = null, lossWeights = null } = options;
    const {
      run_eagerly: eagerly = null,
      steps_per_execution: steps = null,
      jit_compile: jit = null,
    } = defaults[flavor];
    return new Compilation(readOptimizer(options.optimizer ?? "rmsprop", flavor), {
      loss,
      loss_weights: lossWeights,
      metrics,
      weighted_metrics: weightedMetrics,
      run_eagerly: options.runEagerly ?? eagerly,
      steps_per_execution: options.stepsPerExecution ?? steps,
      jit_compile: options.jitCompile ?? jit,
    });
  }

  /**
   * Reads the `training_config` of an HDF5 file or the `compile_config` of an archive; undefined when it names no
   * optimizer.
   */
  static read(config: JsonObject, flavor: Flavor): Compilation | undefined {
    const { optimizer_config: legacy, optimizer = legacy, ...rest } = config;
    const setting = typeof optimizer === "string" || isObject(optimizer) ? optimizer : undefined;
    if (setting === undefined || (isObject(setting) && textAt(setting, "class_name") === undefined)) return undefined;
    return new Compilation(new Optimizer(setting, flavor), rest);
  }

  /** The `training_config` of an HDF5 file. */
  trainingConfig(): JsonObject {
    const keras3 = this.#flavor === "keras3";
    const { loss = null, metrics = null, weighted_metrics: weighted = null, loss_weights: weights = null } = this.#rest;
    const form = (value: Json): Json => legacyForm(value, this.#flavor);
    const asked = { loss: form(loss), metrics: form(metrics), weighted_metrics: form(weighted), loss_weights: weights };
    const more = keras3 ? this.#running() : {};
    return { ...asked, ...more, optimizer_config: this.optimizer.serializeLegacy() };
  }

  /** The `compile_config` of an archive's `config.json`. */
  compileConfig(): JsonObject {
    const rest = Object.entries({ ...this.#rest, ...this.#running() }).map(([name, value]) => {
      const place = places[name];
      return [name, place === undefined ? value : modernForm(value, place)];
    });
    return { optimizer: this.optimizer.serialize(), ...(Object.fromEntries(rest) as JsonObject) };
  }

  #running(): JsonObject {
    const entries = Object.entries(defaults[this.#flavor]).map(([name, value]) => [name, this.#rest[name] ?? value]);
    return Object.fromEntries(entries) as JsonObject;
  }
}
