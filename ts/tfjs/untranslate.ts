// Models of TensorFlow.js as configs of Keras 2, which are nearly the same; from there our own models go to Keras 3.
import { isList, isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import type { Flavor } from "../model/flavor.ts";
import { gruResetAfter } from "./gru.ts";
import { Problems, refusalError } from "./problems.ts";
import type { TfModelLike } from "./structural.ts";

const models = new Set(["Sequential", "Functional", "Model"]);
// Options whose absence means something else than null.
const nullable = new Set(["merge_mode"]);
// Nothing in Keras, or nothing in a model of it.
const left = new Set(["implementation", "custom_objects", "input_length", "dropout_func"]);

/**
 * The Keras 2 config of a TensorFlow.js model.
 *
 * @param flavor Where it is to go: some activations mean something else in Keras 3.
 * @throws ERR_WEIGHTS_UNSUPPORTED with the list of what that Keras does not have.
 */
export function kerasConfig(model: TfModelLike, flavor: Flavor): JsonObject {
  const problems = new Problems();
  const entry = layerEntry(model.toJSON(undefined, false) as JsonObject, flavor, problems);
  if (problems.refusals.length > 0) throw refusalError(problems.refusals);
  return { ...entry, keras_version: "2.15.0", backend: "tensorflow" };
}

function layerEntry(entry: JsonObject, flavor: Flavor, problems: Problems): JsonObject {
  const className = textAt(entry, "class_name") ?? "";
  const bare = entry["config"] ?? null;
  const config = isObject(bare) ? bare : { layers: bare };
  const result: Record<string, Json> = {};
  for (const [key, value] of Object.entries(config)) {
    if (left.has(key) || (value === null && !nullable.has(key))) continue;
    result[key] = option(key, value, { className, name: textAt(config, "name") ?? className, flavor, problems });
  }
  if (models.has(className)) {
    result["layers"] = (isList(config["layers"]) ? config["layers"] : []).map((layer) =>
      isObject(layer) ? layerEntry(layer, flavor, problems) : layer,
    );
  }
  if (className === "GRU") result["reset_after"] = false;
  // A list of one layer is what TensorFlow.js writes; both Keras read the name beside it.
  const { name, inbound_nodes: nodes } = entry;
  return {
    class_name: className === gruResetAfter ? "GRU" : className === "Model" ? "Functional" : className,
    config: result,
    ...(name === undefined ? {} : { name }),
    ...(nodes === undefined ? {} : { inbound_nodes: nodes }),
  };
}

interface Place {
  readonly className: string;
  readonly name: string;
  readonly flavor: Flavor;
  readonly problems: Problems;
}

function option(key: string, value: Json, place: Place): Json {
  if (key === "layer" && isObject(value)) return layerEntry(value, place.flavor, place.problems);
  if (key.endsWith("activation") && typeof value === "string") return activation(value, place);
  if (key.endsWith("_initializer") && isObject(value)) return initializer(value);
  // TensorFlow.js writes the regularizer in the constraint's place.
  if (key === "depthwise_constraint" && isObject(value) && value["class_name"] === "L1L2") return null;
  return value;
}

function activation(name: string, { className, name: layer, flavor, problems }: Place): string {
  if (name === "hard_sigmoid" && flavor === "keras3") {
    problems.refuse(
      layer,
      className,
      "hard_sigmoid is 0.2 x + 0.5 in TensorFlow.js and relu6(x + 3) / 6 in Keras 3; Keras 2 has the same",
    );
  }
  if (name === "gelu_new") problems.refuse(layer, className, "Keras has no activation of the name gelu_new");
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
