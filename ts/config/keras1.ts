import { fail } from "../model/failure.ts";
import { isObject, type Json, type JsonObject } from "./json.ts";

/** A layer entry in today's words, whatever Keras wrote it. */
export function modernLayer(value: Json): JsonObject {
  if (!isObject(value))
    return fail("ERR_WEIGHTS_CONFIG", "a layer of a config is an object with class_name and config");
  return value;
}
