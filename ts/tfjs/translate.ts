// Keras' model configs, of Keras 2 and Keras 3, as TensorFlow.js reads them.
import { flavorOfConfig } from "../config/flavor.ts";
import { isList, isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import { WeightsError } from "../errors.ts";
import type { Flavor } from "../model/flavor.ts";
import { translateActivation } from "./activations.ts";
import { readCall, references, type LayerCall, type TensorReference } from "./calls.ts";
import { inputDtype, policyName, policyProblem } from "./dtypes.ts";
import { commonOptions, layerTable, type LayerRow, type OptionRule } from "./layer-table.ts";
import { checkMasks, type MaskStep } from "./masks.ts";
import { Problems, refusalError, type Refusal, type TranslationNote } from "./problems.ts";
import { translateConstraint, translateInitializer, translateRegularizer } from "./training-objects.ts";

/** How to translate. */
export interface TranslateOptions {
  /** Which Keras wrote the config; default: found out from it. */
  readonly flavor?: Flavor | undefined;
  /** `"float32"`: take models that compute in half or double precision, and let TensorFlow.js compute in float32. */
  readonly dtype?: "float32" | undefined;
  /** Classes that you registered with TensorFlow.js yourself; their configs are handed over as they are. */
  readonly customLayers?: readonly string[] | undefined;
}

/** A config for TensorFlow.js, and what was found on the way. */
export interface Translation {
  /** What `tf.models.modelFromJSON` takes (the class `GRUResetAfter` comes from `registerLayers`). */
  readonly topology: JsonObject;
  /** Which Keras the config is of. */
  readonly flavor: Flavor;
  /** What TensorFlow.js cannot do. When there is any of it, the topology is not to be used. */
  readonly refused: readonly Refusal[];
  /** What is different in training only. */
  readonly notes: readonly TranslationNote[];
}

const modelClasses = new Set(["Sequential", "Functional", "Model"]);
const recurrentClasses = new Set(["SimpleRNN", "LSTM", "GRU", "ConvLSTM2D"]);

/**
 * Translates a model config of Keras for TensorFlow.js; refusals are listed, not thrown.
 *
 * @param config What `model.to_json()` wrote, parsed.
 * @throws ERR_WEIGHTS_CONFIG when it is no model config.
 */
export function translateConfig(config: object, options: TranslateOptions = {}): Translation {
  const entry = config as JsonObject;
  if (typeof entry["class_name"] !== "string") {
    throw new WeightsError("ERR_WEIGHTS_CONFIG", "the model config has no class_name: it is not one that Keras wrote");
  }
  const flavor = options.flavor ?? flavorOfConfig(entry);
  const translator = new Translator(flavor, options);
  const topology = translator.model(entry, "");
  const { refusals: refused, notes } = translator.problems;
  return { topology, flavor, refused, notes };
}

/** {@link translateConfig} where refusals are an error: ERR_WEIGHTS_UNSUPPORTED with the whole list. */
export function requireTranslation(config: object, options: TranslateOptions = {}): Translation {
  const translation = translateConfig(config, options);
  if (translation.refused.length > 0) throw refusalError(translation.refused);
  return translation;
}

/** Joins the names of nested models. */
function within(path: string, name: string): string {
  return path === "" ? name : `${path}/${name}`;
}

class Translator {
  readonly problems = new Problems();
  readonly #flavor: Flavor;
  readonly #float32: boolean;
  readonly #custom: ReadonlySet<string>;

  constructor(flavor: Flavor, options: TranslateOptions) {
    this.#flavor = flavor;
    this.#float32 = options.dtype === "float32";
    this.#custom = new Set(options.customLayers);
  }

  /** A model, and all in it. */
  model(entry: JsonObject, path: string): JsonObject {
    const className = textAt(entry, "class_name") ?? "";
    if (className === "Sequential") return this.#sequential(entry, path);
    const config = isObject(entry["config"]) ? entry["config"] : {};
    if (!isList(config["layers"]) || config["output_layers"] === undefined) {
      this.problems.refuse(
        path === "" ? className : path,
        className,
        "TensorFlow.js knows Sequential and functional models only",
      );
      return { class_name: className, config: {} };
    }
    return this.#functional(config, path);
  }

  #sequential(entry: JsonObject, path: string): JsonObject {
    // Keras before 2.2.3 wrote the list of layers in place of the config.
    const bare = entry["config"];
    const config = isObject(bare ?? null) ? (bare as JsonObject) : {};
    const layers = entriesOf(isList(bare) ? bare : config["layers"]);
    const steps: MaskStep[] = [];
    const translated = layers.map((layer, index) => {
      steps.push({ ...maskStep(layer, path), inputs: index === 0 ? [] : [index - 1] });
      return this.layer(layer, path);
    });
    checkMasks(steps, this.problems);
    const [first] = layers;
    const shape = inputShapeOf(entry, config);
    if (first !== undefined && shape !== undefined && !modelClasses.has(classOf(first)) && !knowsItsInput(first)) {
      const name = `${textAt(configOf(first), "name") ?? "sequential"}_input`;
      translated.unshift({ class_name: "InputLayer", config: { batch_input_shape: shape, dtype: "float32", name } });
    }
    const name = textAt(config, "name");
    return {
      class_name: "Sequential",
      config: { ...(name === undefined ? {} : { name }), layers: translated },
    };
  }

  #functional(config: JsonObject, path: string): JsonObject {
    const layers = entriesOf(config["layers"]);
    const calls = new Map<string, LayerCall[]>();
    for (const layer of layers) calls.set(nameOf(layer), this.#calls(layer, path));
    const counted = this.#countedFromZero(layers);
    const shifted =
      (from0: ReadonlySet<string>) =>
      ([layer, call, tensor]: TensorReference): Json => [layer, call + (from0.has(layer) ? 1 : 0), tensor];
    checkMasks(graphSteps(layers, calls, counted.inCalls, path), this.problems);
    const name = textAt(config, "name");
    return {
      class_name: "Functional",
      config: {
        ...(name === undefined ? {} : { name }),
        layers: layers.map((layer) => ({
          ...this.layer(layer, path),
          name: nameOf(layer),
          inbound_nodes: (calls.get(nameOf(layer)) ?? []).map(({ inputs }) =>
            inputs.map((input) => [...(shifted(counted.inCalls)(input) as Json[]), {}]),
          ),
        })),
        input_layers: references(config["input_layers"]).map(shifted(counted.inOutputs)),
        output_layers: references(config["output_layers"]).map(shifted(counted.inOutputs)),
      },
    };
  }

  /**
   * Nested models whose calls are counted from 0. TensorFlow.js counts the model's own graph as call 0. So does Keras 2,
   * but for Sequential models that did not know their input; Keras 3 does so in outputs and for functional models alone.
   */
  #countedFromZero(layers: readonly JsonObject[]): { inCalls: ReadonlySet<string>; inOutputs: ReadonlySet<string> } {
    const models = layers.filter((layer) => modelClasses.has(classOf(layer)));
    const sequential = models.filter((layer) => classOf(layer) === "Sequential");
    if (this.#flavor === "keras3") {
      return { inCalls: new Set(models.map(nameOf)), inOutputs: new Set(sequential.map(nameOf)) };
    }
    const deferred = sequential.filter((layer) => {
      const [first] = entriesOf(configOf(layer)["layers"]);
      return first !== undefined && !knowsItsInput(first) && !modelClasses.has(classOf(first));
    });
    const names = new Set(deferred.map(nameOf));
    return { inCalls: names, inOutputs: names };
  }

  #calls(layer: JsonObject, path: string): LayerCall[] {
    const className = classOf(layer);
    const nodes = isList(layer["inbound_nodes"]) ? layer["inbound_nodes"] : [];
    const takesState = recurrentClasses.has(className) || className === "Bidirectional";
    return nodes.map((node) => {
      const call = readCall(node, takesState);
      const where = within(path, nameOf(layer));
      for (const reason of call.problems) this.problems.refuse(where, className, reason);
      for (const message of call.notes) this.problems.note(where, message);
      return call;
    });
  }

  /** One layer: class and config. */
  layer(entry: JsonObject, path: string): JsonObject {
    const className = classOf(entry);
    const config = configOf(entry);
    const where = within(path, nameOf(entry));
    if (modelClasses.has(className)) return this.model(entry, where);
    if (this.#custom.has(className)) return { class_name: className, config };
    const row = layerTable.get(className);
    const module = textAt(entry, "module");
    if (
      module?.startsWith("keras.src.ops") === true ||
      /^(?:TFOpLambda|SlicingOpLambda|TensorFlowOpLayer)$/u.test(className)
    ) {
      this.problems.refuse(
        where,
        className,
        "it is an operation between layers, which TensorFlow.js cannot keep in a model",
      );
    } else if (row === undefined || isForeign(entry)) {
      this.problems.refuse(where, className, "TensorFlow.js has no such layer");
    } else {
      return this.#known(className, config, row, where, path);
    }
    return { class_name: className, config: {} };
  }

  #known(className: string, config: JsonObject, row: LayerRow, where: string, path: string): JsonObject {
    const rewritten = row.rewrite?.(config, this.#flavor) ?? { className, config };
    if (typeof rewritten === "string") {
      this.problems.refuse(where, className, rewritten);
      return { class_name: className, config: {} };
    }
    const result: Record<string, Json> = {};
    for (const [name, value] of Object.entries(rewritten.config)) {
      this.#option({ name, value, className, where, result }, row.options[name] ?? commonOptions[name]);
    }
    if (className === "InputLayer") this.#input(config, where, result);
    else this.#policy(className, config, where);
    if (className === "Bidirectional" || className === "TimeDistributed") {
      result["layer"] = this.#wrapped(className, config, where, path);
    }
    return { class_name: rewritten.className, config: result };
  }

  #policy(className: string, config: JsonObject, where: string): void {
    const problem = policyProblem(policyName(config["dtype"]), this.#float32);
    if (problem !== undefined) this.problems.refuse(where, className, problem);
  }

  #input(config: JsonObject, where: string, result: Record<string, Json>): void {
    const policy = policyName(config["dtype"]);
    const dtype = inputDtype(policy);
    if (dtype === undefined)
      this.problems.refuse(where, "InputLayer", `TensorFlow.js has no inputs of ${String(policy)}`);
    else result["dtype"] = dtype;
    result["batch_input_shape"] = config["batch_shape"] ?? config["batch_input_shape"] ?? null;
    if (config["sparse"] === true) this.problems.refuse(where, "InputLayer", "TensorFlow.js has no sparse inputs");
  }

  #option(
    at: { name: string; value: Json; className: string; where: string; result: Record<string, Json> },
    rule: OptionRule | undefined,
  ): void {
    const { name, value, className, where, result } = at;
    if (rule === "drop") return;
    if (rule === "keep") {
      result[name] = value;
    } else if (rule === "activation") {
      const found = translateActivation(value, this.#flavor);
      if ("reason" in found) this.problems.refuse(where, className, found.reason);
      else result[name] = found.name;
    } else if (rule === "training") {
      const found = translateTraining(name, value);
      if (found.note !== undefined) this.problems.note(where, found.note);
      if (found.value !== null) result[name] = found.value;
    } else if (rule !== undefined && !rule.only.some((one) => JSON.stringify(one) === JSON.stringify(value))) {
      this.problems.refuse(
        where,
        className,
        `TensorFlow.js knows no other ${name} than ${JSON.stringify(rule.only[0])}`,
      );
    } else if (rule === undefined && value !== null && value !== false) {
      this.problems.refuse(where, className, `its option ${name} is not known to have a meaning in TensorFlow.js`);
    }
  }

  /** The layer inside a wrapper. */
  #wrapped(className: string, config: JsonObject, where: string, path: string): Json {
    const inner = config["layer"];
    if (!isObject(inner ?? null)) {
      throw new WeightsError("ERR_WEIGHTS_CONFIG", `${className} without a layer`, { layer: where });
    }
    const entry = inner as JsonObject;
    if (className === "TimeDistributed") return this.layer(entry, where);
    if (!recurrentClasses.has(classOf(entry)) || classOf(entry) === "ConvLSTM2D") {
      this.problems.refuse(where, className, `TensorFlow.js has no Bidirectional ${classOf(entry)}`);
    }
    if (!sameBackwards(entry, config["backward_layer"])) {
      this.problems.refuse(where, className, "its backward layer differs from its forward layer");
    }
    // TensorFlow.js puts the prefix in front itself.
    const innerConfig = configOf(entry);
    const name = (textAt(innerConfig, "name") ?? "").replace(/^forward_/u, "");
    return this.layer({ ...entry, config: { ...innerConfig, name } }, path);
  }
}

function translateTraining(name: string, value: Json): { readonly value: Json; readonly note?: string } {
  if (name.endsWith("_initializer")) return translateInitializer(value);
  return name.endsWith("_constraint") ? translateConstraint(value) : translateRegularizer(value);
}

/** A class that is called like one of Keras' but comes from elsewhere. */
function isForeign(entry: JsonObject): boolean {
  const registered = entry["registered_name"];
  return typeof registered === "string" && registered.includes(">");
}

function entriesOf(value: Json | undefined): JsonObject[] {
  return isList(value) ? value.filter((item): item is JsonObject => isObject(item)) : [];
}

function classOf(entry: JsonObject): string {
  return textAt(entry, "class_name") ?? "";
}

function configOf(entry: JsonObject): JsonObject {
  return isObject(entry["config"]) ? entry["config"] : {};
}

function nameOf(entry: JsonObject): string {
  return textAt(entry, "name") ?? textAt(configOf(entry), "name") ?? classOf(entry);
}

function maskStep(layer: JsonObject, path: string): Omit<MaskStep, "inputs"> {
  return { path: within(path, nameOf(layer)), className: classOf(layer), config: configOf(layer) };
}

function knowsItsInput(layer: JsonObject): boolean {
  const config = configOf(layer);
  return classOf(layer) === "InputLayer" || isList(config["batch_input_shape"]) || isList(config["batch_shape"]);
}

function inputShapeOf(entry: JsonObject, config: JsonObject): Json | undefined {
  const built = entry["build_config"];
  const shape =
    config["build_input_shape"] ?? (isObject(built ?? null) ? (built as JsonObject)["input_shape"] : undefined);
  return isList(shape) ? shape : undefined;
}

/** The calls of a graph in an order in which inputs come first. */
function graphSteps(
  layers: readonly JsonObject[],
  calls: ReadonlyMap<string, readonly LayerCall[]>,
  shift: ReadonlySet<string>,
  path: string,
): MaskStep[] {
  const steps: MaskStep[] = [];
  const numbers = new Map<string, number>();
  const waiting = layers.flatMap((layer) => {
    const own = calls.get(nameOf(layer)) ?? [];
    const first = modelClasses.has(classOf(layer)) && !shift.has(nameOf(layer)) ? 1 : 0;
    const nodes = own.length === 0 ? [{ inputs: [] as readonly TensorReference[] }] : own;
    return nodes.map(({ inputs }, index) => ({ layer, inputs, key: `${nameOf(layer)}\0${index + first}` }));
  });
  for (let progress = true; progress && waiting.length > 0;) {
    progress = false;
    for (const call of waiting.splice(0)) {
      const inputs = call.inputs.map(([name, index]) => numbers.get(`${name}\0${index}`));
      if (inputs.every((input) => input !== undefined)) {
        numbers.set(call.key, steps.length);
        steps.push({ ...maskStep(call.layer, path), inputs });
        progress = true;
      } else {
        waiting.push(call);
      }
    }
  }
  return steps;
}

/** Whether a Bidirectional's backward layer is its forward layer the other way round. */
function sameBackwards(forward: JsonObject, backward: Json | undefined): boolean {
  if (!isObject(backward ?? null)) return true;
  const plain = (entry: JsonObject, turned: boolean): string => {
    const config = configOf(entry);
    const keys = Object.keys(config)
      .filter((key) => key !== "name" && key !== "go_backwards")
      .sort();
    const backwards = config["go_backwards"] === true;
    return JSON.stringify([classOf(entry), backwards === turned, keys.map((key) => [key, config[key] ?? null])]);
  };
  const turned = configOf(backward as JsonObject)["go_backwards"] === true;
  return plain(forward, !turned) === plain(backward as JsonObject, turned);
}
