import type { Flavor } from "../model/flavor.ts";
import type { JsonObject } from "./json.ts";

// Words that only one Keras writes. Keras 3: policies as objects, tensors in calls, `batch_shape`.
const keras3Words = /"(?:DTypePolicy|__keras_tensor__|batch_shape)"/;
const keras2Words = /"(?:batch_input_shape|inbound_nodes"\s*:\s*\[\s*\[)/;

/**
 * Which Keras wrote a model config. Keras 1 counts as Keras 2.
 *
 * @param config The parsed config.
 * @param text The same as JSON text.
 */
export function flavorOfConfig(config: JsonObject, text: string = JSON.stringify(config)): Flavor {
  const version = config["keras_version"];
  // TensorFlow.js follows Keras 2 and puts its own version there.
  if (typeof version === "string") return /^(?:[12]\.|tfjs)/.test(version) ? "keras2" : "keras3";
  if (keras3Words.test(text)) return "keras3";
  if (keras2Words.test(text)) return "keras2";
  return "module" in config ? "keras3" : "keras2";
}
