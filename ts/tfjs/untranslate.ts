// Models of TensorFlow.js as configs of Keras 2, which are nearly the same; from there our own models go to Keras 3.
import { isList, isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import type { Flavor } from "../model/flavor.ts";
import { nameOf, within } from "./entries.ts";
import { gruCellResetAfter, gruResetAfter } from "./gru.ts";
import { layerTable } from "./layer-table.ts";
import { Problems, refusalError } from "./problems.ts";
import type { TfLayerLike, TfModelLike } from "./structural.ts";
import { translateConfig } from "./translate.ts";

const models = new Set(["Sequential", "Functional", "Model"]);
// Options whose absence means something else than null.
const nullable = new Set(["merge_mode"]);
// Nothing in Keras, or nothing in a model of it.
const left = new Set(["implementation", "custom_objects", "input_length", "dropout_func", "unroll"]);
const classNames: ReadonlyMap<string, string> = new Map([
  [gruResetAfter, "GRU"],
  [gruCellResetAfter, "GRUCell"],
  ["Model", "Functional"],
]);
/** Layers that both have and that compute something else. */
const different: ReadonlyMap<string, string> = new Map([
  ["Resizing", "TensorFlow.js places the pixels otherwise than Keras"],
  ["CenterCrop", "TensorFlow.js places the crop otherwise than Keras"],
  ["CategoryEncoding", "TensorFlow.js changes the shape of its input"],
  ["RandomWidth", "it is random in predictions, too, and Keras 3 has no such layer"],
]);

/** The name of a flavour in messages. */
export function kerasName(flavor: Flavor): string {
  return flavor === "keras2" ? "Keras 2" : "Keras 3";
}

/**
 * The Keras 2 config of a TensorFlow.js model.
 *
 * @param flavor Where it is to go: some activations mean something else in Keras 3.
 * @throws ERR_WEIGHTS_UNSUPPORTED with the list of what that Keras does not have.
 */
export function kerasConfig(model: TfModelLike, flavor: Flavor): JsonObject {
  const problems = new Problems();
  const config = untranslated(model, flavor, problems);
  if (problems.refusals.length > 0) throw refusalError(problems.refusals, kerasName(flavor));
  return config;
}

/**
 * {@link kerasConfig} of a model that is to predict the same in Keras: also refuses what both can be told and only one
 * of them does.
 */
export function kerasArchitecture(model: TfModelLike, flavor: Flavor, problems: Problems): JsonObject {
  const config = untranslated(model, flavor, problems);
  // What would come back as another model is another model there.
  problems.add(translateConfig(config, { flavor: "keras2" }).refused);
  return config;
}

function untranslated(model: TfModelLike, flavor: Flavor, problems: Problems): JsonObject {
  const entry = layerEntry(model.toJSON(undefined, false) as JsonObject, { path: "", flavor, problems, live: model });
  return { ...entry, keras_version: "2.15.0", backend: "tensorflow" };
}

interface Place {
  /** Names of the models around. */
  readonly path: string;
  readonly flavor: Flavor;
  readonly problems: Problems;
  /** The layer itself, which knows what TensorFlow.js forgets to write down. */
  readonly live: Live | undefined;
}

interface Live extends Partial<TfLayerLike> {
  readonly layers?: readonly TfLayerLike[];
  readonly layer?: Live;
  readonly depthMultiplier?: number;
}

function layerEntry(entry: JsonObject, place: Place, root = true): JsonObject {
  const className = textAt(entry, "class_name") ?? "";
  const bare = entry["config"] ?? null;
  const config = isObject(bare) ? bare : { layers: bare };
  const where = root ? "" : within(place.path, textAt(config, "name") ?? className);
  const inside: OptionPlace = { ...place, className, where };
  const options: Record<string, Json> = {};
  for (const [key, value] of Object.entries(config)) {
    if (left.has(key) || (value === null && !nullable.has(key))) continue;
    options[key] = option(key, value, inside);
  }
  if (models.has(className)) {
    const others = new Map(place.live?.layers?.map((layer) => [layer.name, layer]));
    options["layers"] = (isList(config["layers"]) ? config["layers"] : []).map((layer) => {
      if (!isObject(layer)) return layer;
      return layerEntry(layer, { ...place, path: where, live: others.get(nameOf(layer)) }, false);
    });
  }
  const { depthMultiplier } = place.live ?? {};
  if (className === "SeparableConv2D" && depthMultiplier !== undefined) options["depth_multiplier"] = depthMultiplier;
  const { name, inbound_nodes: nodes } = entry;
  // A list of one layer is what TensorFlow.js writes; both Keras read the name beside it.
  return {
    ...kerasClass(className, options, inside),
    ...(name === undefined ? {} : { name }),
    ...(nodes === undefined ? {} : { inbound_nodes: place.flavor === "keras3" ? calls(className, nodes) : nodes }),
  };
}

const takesStates = new Set(["RNN", "SimpleRNN", "GRU", gruResetAfter, "LSTM", "ConvLSTM2D", "Bidirectional"]);

/** States that a recurrent layer begins with are further inputs in Keras 2, and an argument in Keras 3. */
function calls(className: string, nodes: Json): Json {
  if (!takesStates.has(className) || !isList(nodes)) return nodes;
  return nodes.map((node): Json => {
    if (!isList(node) || node.length < 2) return node;
    const [input, ...states] = node.map((reference) => (isList(reference) ? reference.slice(0, 3) : reference));
    return isList(input) ? [[...input, { initial_state: states as Json[] }]] : node;
  });
}

interface OptionPlace extends Place {
  readonly className: string;
  /** Name of the layer with the models it is in. */
  readonly where: string;
}

/** What the layer is in Keras. */
function kerasClass(
  className: string,
  config: JsonObject,
  { where, flavor, problems }: OptionPlace,
): { class_name: string; config: JsonObject } {
  const name = classNames.get(className) ?? className;
  const reason = different.get(className);
  if (reason !== undefined) problems.refuse(where, className, reason);
  else if (!models.has(className) && !layerTable.has(name)) {
    problems.refuse(where, className, "it is no layer of Keras");
  }
  if (className === "GRU" || className === "GRUCell")
    return { class_name: name, config: { ...config, reset_after: false } };
  if (className === "ThresholdedReLU" && flavor === "keras3") {
    const { theta = 1, ...rest } = config;
    return { class_name: "ReLU", config: { ...rest, threshold: theta } };
  }
  if (className === "RNN") return { class_name: name, config: rnnConfig(config) };
  if (className === "LeakyReLU" && flavor === "keras3") {
    const { alpha = 0.3, ...rest } = config;
    return { class_name: name, config: { ...rest, negative_slope: alpha } };
  }
  return { class_name: name, config };
}

const rnnOptions = ["name", "trainable", "dtype", "batch_input_shape", "cell", "stateful", "go_backwards"];

/** TensorFlow.js writes the options of the cell beside the cell. */
function rnnConfig(config: JsonObject): JsonObject {
  const own = new Set([...rnnOptions, "return_sequences", "return_state"]);
  return Object.fromEntries(Object.entries(config).filter(([key]) => own.has(key)));
}

function option(key: string, value: Json, place: OptionPlace): Json {
  if ((key === "layer" || key === "cell") && isObject(value)) return innerEntry(value, place);
  if (key === "cells" && isList(value)) return value.map((cell) => (isObject(cell) ? innerEntry(cell, place) : cell));
  if (key.endsWith("activation") && typeof value === "string") return activation(value, place);
  if (key.endsWith("_initializer") && isObject(value)) return initializer(value);
  // TensorFlow.js writes the regularizer in the constraint's place.
  if (key === "depthwise_constraint" && isObject(value) && value["class_name"] === "L1L2") return null;
  return value;
}

/** The layer in a wrapper, the cell of a recurrent layer. */
function innerEntry(value: JsonObject, { where, flavor, problems, live }: OptionPlace): JsonObject {
  return layerEntry(value, { path: where, flavor, problems, live: live?.layer }, false);
}

function activation(name: string, { className, where, flavor, problems }: OptionPlace): string {
  if (name === "hard_sigmoid" && flavor === "keras3") {
    problems.refuse(
      where,
      className,
      "hard_sigmoid is 0.2 x + 0.5 in TensorFlow.js and relu6(x + 3) / 6 in Keras 3; Keras 2 has the same",
    );
  }
  if (name === "gelu_new") problems.refuse(where, className, "Keras has no activation of the name gelu_new");
  return name;
}

const initializerNames: ReadonlyMap<string, string> = new Map([
  ["LeCunNormal", "LecunNormal"],
  ["LeCunUniform", "LecunUniform"],
]);

function initializer(value: JsonObject): Json {
  const className = textAt(value, "class_name") ?? "";
  const config = isObject(value["config"] ?? null) ? (value["config"] as JsonObject) : {};
  const kept = Object.entries(config).filter(([key, item]) => item !== null && !left.has(key));
  const truncated = className === "VarianceScaling" && config["distribution"] === "normal";
  return {
    class_name: initializerNames.get(className) ?? className,
    config: { ...Object.fromEntries(kept), ...(truncated ? { distribution: "truncated_normal" } : {}) },
  };
}
