import type { Model } from "../model/model.ts";
import { isList, isObject, textAt, type Json, type JsonObject } from "./json.ts";
import { configOf } from "../layers/opaque.ts";
import { writeLayer } from "./write.ts";

/** The `model_config` of a whole HDF5 file: class names and configs, without modules and build shapes. */
export function writeLegacyModel(model: Model): JsonObject {
  const { class_name: className, config } = legacyEntry(writeLayer(model));
  return { class_name: className ?? model.className, config: config ?? {} };
}

/** Classes that modern configs call by the name Keras exports them under, older ones by Python's. */
const pythonNames: Readonly<Record<string, string>> = { GroupQueryAttention: "GroupedQueryAttention" };

/** A layer of a model. What wrappers have inside stays as it is, as Keras leaves it. */
function legacyEntry(entry: JsonObject): JsonObject {
  const registered = textAt(entry, "registered_name");
  const className = registered?.includes(">") ? registered : pythonName(entry["class_name"] ?? null);
  const config = configOf(entry["config"]);
  const { layers, ...rest } = config;
  const isModel = className !== "Pipeline" && isList(layers) && layers.every(isEntry);
  const inside = isModel ? { layers: layers.map(legacyEntry) } : {};
  const { name, inbound_nodes: nodes } = entry;
  return {
    class_name: className,
    // The order of Keras' keys: people compare these files.
    config: "layers" in inside ? inOrder(config, { ...rest, ...inside }) : config,
    ...(name !== undefined && { name }),
    ...(nodes !== undefined && { inbound_nodes: nodes }),
  };
}

function pythonName(className: Json): Json {
  return typeof className === "string" ? (pythonNames[className] ?? className) : className;
}

function inOrder(model: JsonObject, values: JsonObject): JsonObject {
  return Object.fromEntries(Object.keys(model).map((key) => [key, values[key] ?? null]));
}

function isEntry(value: Json): value is JsonObject {
  return isObject(value) && "class_name" in value && "config" in value;
}
