// Keras' model configs, of Keras 2 and Keras 3, as TensorFlow.js reads them.
import { flavorOfConfig } from "../config/flavor.ts";
import { isList, isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import { WeightsError } from "../errors.ts";
import type { Flavor } from "../model/flavor.ts";
import { axisProblem } from "./axes.ts";
import { readCall, references, type LayerCall, type TensorReference } from "./calls.ts";
import { inputDtype, policyName, policyProblem } from "./dtypes.ts";
import { builtShape, classOf, configOf, entriesOf, knowsItsInput, modelClasses, nameOf, within } from "./entries.ts";
import { graphSteps, stepOf } from "./graph-steps.ts";
import { commonOptions, layerTable, type LayerRow } from "./layer-table.ts";
import { maskOperations } from "./mask-operations.ts";
import { checkMasks } from "./masks.ts";
import { translateOption } from "./options.ts";
import { Problems, refusalError, type Refusal, type TranslationNote } from "./problems.ts";

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

const recurrentClasses = new Set(["RNN", "SimpleRNN", "LSTM", "GRU", "ConvLSTM2D"]);
const bidirectionalClasses = new Set(["SimpleRNN", "LSTM", "GRU"]);
const operationClasses = new Set(["TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"]);

/**
 * Translates a model config of Keras for TensorFlow.js; refusals are listed, not thrown.
 *
 * ```ts
 * const { refused } = translateConfig(JSON.parse(await readFile("config.json", "utf8")));
 * for (const { layer, className, reason } of refused) console.log(`${layer} (${className}): ${reason}`);
 * ```
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
    const className = classOf(entry);
    if (className === "Sequential") return this.#sequential(entry, path);
    const config = configOf(entry);
    if (isList(config["layers"]) && config["output_layers"] !== undefined) return this.#functional(config, path);
    const where = path === "" ? className : path;
    this.problems.refuse(where, className, "TensorFlow.js knows Sequential and functional models only");
    return { class_name: className, config: {} };
  }

  #sequential(entry: JsonObject, path: string): JsonObject {
    // Keras before 2.2.3 wrote the list of layers in place of the config.
    const bare = entry["config"];
    const config = configOf(entry);
    const layers = entriesOf(isList(bare) ? bare : config["layers"]);
    const steps = layers.map((layer, index) => ({
      ...stepOf(layer, path),
      inputs: index === 0 ? [] : [index - 1],
      source: String(index - 1),
    }));
    checkMasks(steps, this.problems);
    const translated = layers.map((layer) => this.layer(layer, path));
    const [first] = layers;
    const shape = builtShape(entry);
    if (first !== undefined && shape !== undefined && !modelClasses.has(classOf(first)) && !knowsItsInput(first)) {
      const name = `${nameOf(first)}_input`;
      translated.unshift({ class_name: "InputLayer", config: { batch_input_shape: shape, dtype: "float32", name } });
    }
    return { class_name: "Sequential", config: { ...namePart(config), layers: translated } };
  }

  #functional(config: JsonObject, path: string): JsonObject {
    const entries = entriesOf(config["layers"]);
    const masks = maskOperations(entries);
    const layers = entries.filter((layer) => !masks.has(nameOf(layer)));
    const calls = new Map(layers.map((layer) => [nameOf(layer), this.#calls(layer, path, masks)]));
    const { inCalls, inOutputs } = this.#countedFromZero(layers);
    checkMasks(graphSteps({ layers, calls, masks, fromZero: inCalls }, path), this.problems);
    return {
      class_name: "Functional",
      config: {
        ...namePart(config),
        layers: layers.map((layer) => ({
          ...this.layer(layer, path),
          name: nameOf(layer),
          inbound_nodes: (calls.get(nameOf(layer)) ?? []).map(({ inputs }) =>
            inputs.map((input) => [...shifted(input, inCalls), {}]),
          ),
        })),
        input_layers: references(config["input_layers"]).map((input) => shifted(input, inOutputs)),
        output_layers: references(config["output_layers"]).map((output) => shifted(output, inOutputs)),
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

  #calls(layer: JsonObject, path: string, masks: ReadonlyMap<string, string>): LayerCall[] {
    const className = classOf(layer);
    const where = within(path, nameOf(layer));
    const nodes = isList(layer["inbound_nodes"]) ? layer["inbound_nodes"] : [];
    const takesState = recurrentClasses.has(className) || className === "Bidirectional";
    return nodes.map((node) => {
      const call = readCall(node, takesState);
      if (call.inputs.some(([input]) => masks.has(input))) {
        this.problems.refuse(where, className, "it takes a mask as if it were values");
      }
      // What an operation is called with matters no more: the operation itself is refused.
      if (!isOperation(layer)) for (const reason of call.problems) this.problems.refuse(where, className, reason);
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
    if (isOperation(entry)) {
      this.problems.refuse(
        where,
        className,
        "it is an operation between layers, which TensorFlow.js models cannot have",
      );
    } else if (row === undefined || isForeign(entry)) {
      this.problems.refuse(where, className, "TensorFlow.js has no such layer");
    } else {
      return this.#known(entry, row, where, path);
    }
    return { class_name: className, config: {} };
  }

  #known(entry: JsonObject, row: LayerRow, where: string, path: string): JsonObject {
    const className = classOf(entry);
    const config = configOf(entry);
    const rewritten = row.rewrite?.(config, this.#flavor) ?? { className, config };
    if (typeof rewritten === "string") {
      this.problems.refuse(where, className, rewritten);
      return { class_name: className, config: {} };
    }
    const result: Record<string, Json> = {};
    const place = { className, where, flavor: this.#flavor, problems: this.problems };
    for (const [name, value] of Object.entries(rewritten.config)) {
      const translated = translateOption(name, value, row.options[name] ?? commonOptions[name], place);
      if (translated !== undefined) result[name] = translated;
    }
    if (className === "InputLayer") this.#input(config, where, result);
    else this.#computation(entry, where);
    if (className === "Bidirectional") result["layer"] = this.#bidirectional(config, where, path);
    if (className === "RNN") result["cell"] = this.layer(cellOf(config["cell"], where), where);
    if (className === "StackedRNNCells") {
      const cells = isList(config["cells"]) ? config["cells"] : [];
      result["cells"] = cells.map((cell) => this.layer(cellOf(cell, where), where));
    }
    if (className === "TimeDistributed") result["layer"] = this.layer(innerOf(config, where), where);
    return { class_name: rewritten.className, config: result };
  }

  /** What no option alone tells. */
  #computation(entry: JsonObject, where: string): void {
    const className = classOf(entry);
    const policy = policyProblem(policyName(configOf(entry)["dtype"]), this.#float32);
    if (policy !== undefined) this.problems.refuse(where, className, policy);
    const axis = axisProblem(className, configOf(entry)["axis"], builtShape(entry)?.length);
    if (axis !== undefined) this.problems.refuse(where, className, axis);
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

  #bidirectional(config: JsonObject, where: string, path: string): JsonObject {
    const entry = innerOf(config, where);
    if (!bidirectionalClasses.has(classOf(entry))) {
      this.problems.refuse(where, "Bidirectional", `TensorFlow.js has no Bidirectional ${classOf(entry)}`);
    }
    if (!sameBackwards(entry, config["backward_layer"])) {
      this.problems.refuse(where, "Bidirectional", "its backward layer differs from its forward layer");
    }
    // TensorFlow.js puts the prefix in front itself.
    const innerConfig = configOf(entry);
    const name = (textAt(innerConfig, "name") ?? "").replace(/^forward_/u, "");
    return this.layer({ ...entry, config: { ...innerConfig, name } }, path);
  }
}

function namePart(config: JsonObject): JsonObject {
  const name = textAt(config, "name");
  return name === undefined ? {} : { name };
}

function shifted([layer, call, tensor]: TensorReference, fromZero: ReadonlySet<string>): readonly Json[] {
  return [layer, call + (fromZero.has(layer) ? 1 : 0), tensor];
}

function innerOf(config: JsonObject, where: string): JsonObject {
  const inner = config["layer"];
  if (isObject(inner)) return inner;
  throw new WeightsError("ERR_WEIGHTS_CONFIG", "a wrapper without a layer", { layer: where });
}

function cellOf(value: Json | undefined, where: string): JsonObject {
  if (isObject(value)) return value;
  throw new WeightsError("ERR_WEIGHTS_CONFIG", "a recurrent layer without a cell", { layer: where });
}

function isOperation(entry: JsonObject): boolean {
  return textAt(entry, "module")?.startsWith("keras.src.ops") === true || operationClasses.has(classOf(entry));
}

/** A class that is called like one of Keras' but comes from elsewhere. */
function isForeign(entry: JsonObject): boolean {
  return textAt(entry, "registered_name")?.includes(">") === true;
}

/** Whether a Bidirectional's backward layer is its forward layer the other way round. */
function sameBackwards(forward: JsonObject, backward: Json | undefined): boolean {
  if (!isObject(backward)) return true;
  const plain = (entry: JsonObject): string => {
    const config = configOf(entry);
    const keys = Object.keys(config).filter((key) => key !== "name" && key !== "go_backwards");
    return JSON.stringify([classOf(entry), keys.sort().map((key) => [key, config[key] ?? null])]);
  };
  const turned = (entry: JsonObject): boolean => configOf(entry)["go_backwards"] === true;
  return turned(forward) !== turned(backward) && plain(forward) === plain(backward);
}
