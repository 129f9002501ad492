// Entries of a model config: class, config, name.
import { isList, isObject, textAt, type Json, type JsonObject } from "../config/json.ts";

/** Classes that are models. */
export const modelClasses: ReadonlySet<string> = new Set(["Sequential", "Functional", "Model"]);

/** The layer entries in a list. */
export function entriesOf(value: Json | undefined): JsonObject[] {
  return isList(value) ? value.filter((item): item is JsonObject => isObject(item)) : [];
}

/** The class of a layer. */
export function classOf(entry: JsonObject): string {
  return textAt(entry, "class_name") ?? "";
}

/** The options of a layer. */
export function configOf(entry: JsonObject): JsonObject {
  return isObject(entry["config"]) ? entry["config"] : {};
}

/** The name of a layer. */
export function nameOf(entry: JsonObject): string {
  return textAt(entry, "name") ?? textAt(configOf(entry), "name") ?? classOf(entry);
}

/** Joins the names of nested models. */
export function within(path: string, name: string): string {
  return path === "" ? name : `${path}/${name}`;
}

/** Whether a layer says itself what comes in. */
export function knowsItsInput(layer: JsonObject): boolean {
  const config = configOf(layer);
  return classOf(layer) === "InputLayer" || isList(config["batch_input_shape"]) || isList(config["batch_shape"]);
}

/** The input shape that a layer was built with, if its entry says so. */
export function builtShape(entry: JsonObject): readonly Json[] | undefined {
  const built = entry["build_config"];
  const shape = configOf(entry)["build_input_shape"] ?? (isObject(built) ? built["input_shape"] : undefined);
  return isList(shape) ? shape : undefined;
}
