import { isList, isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import type { Flavor } from "../model/flavor.ts";

/** Short names that Keras 3 takes in `compile` and does not find again when it loads an HDF5 file. */
const shortNames: Readonly<Record<string, string>> = {
  bce: "binary_crossentropy",
  BCE: "binary_crossentropy",
  kld: "kl_divergence",
  KLD: "kl_divergence",
  mae: "mean_absolute_error",
  MAE: "mean_absolute_error",
  mape: "mean_absolute_percentage_error",
  MAPE: "mean_absolute_percentage_error",
  mse: "mean_squared_error",
  MSE: "mean_squared_error",
  msle: "mean_squared_logarithmic_error",
  MSLE: "mean_squared_logarithmic_error",
};

function mapObjects(value: Json, change: (object: JsonObject) => Json, text: (name: string) => string): Json {
  if (typeof value === "string") return text(value);
  if (isList(value)) return value.map((item) => mapObjects(item, change, text));
  if (!isObject(value)) return value;
  if (textAt(value, "class_name") !== undefined) return change(value);
  return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, mapObjects(item, change, text)]));
}

/** Losses and metrics as HDF5 files keep them: class and config, functions by name. */
export function legacyForm(value: Json, flavor: Flavor): Json {
  const change = (object: JsonObject): Json => {
    const { class_name: className = null, config = {} } = object;
    if (className === "function" && typeof config === "string") return text(config);
    const registered = textAt(object, "registered_name");
    return { class_name: registered?.includes(">") ? registered : className, config };
  };
  const text = (name: string): string => (flavor === "keras3" ? (shortNames[name] ?? name) : name);
  return mapObjects(value, change, text);
}

/** The same as archives keep them: with the module that the class is found in. */
export function modernForm(value: Json, module: string): Json {
  const change = (object: JsonObject): Json => {
    if ("module" in object) return object;
    const { config = {} } = object;
    const name = textAt(object, "class_name") ?? "";
    const custom = name.includes(">");
    return {
      module: custom ? null : module,
      class_name: custom ? name.slice(name.lastIndexOf(">") + 1) : name,
      config,
      registered_name: custom ? name : null,
    };
  };
  return mapObjects(value, change, (name) => name);
}
