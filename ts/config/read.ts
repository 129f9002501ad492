import { DeclaredLayer, readConfig } from "../layers/declared.ts";
import type { FieldReader, Fields } from "../layers/fields.ts";
import { configOf, isOperation, OperationLayer, UnknownLayer } from "../layers/opaque.ts";
import { findLayer, type Registered } from "../layers/registry.ts";
import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import { InputLayer } from "../model/input_layer.ts";
import type { Layer, LayerOptions } from "../model/layer.ts";
import { isModel, type Model } from "../model/model.ts";
import { Sequential } from "../model/sequential.ts";
import { isShape, type Shape } from "../model/shape.ts";
import { flavorOfConfig } from "./flavor.ts";
import { buildFrom } from "./build_config.ts";
import { readFunctional } from "./functional.ts";
import { isList, isObject, textAt, type Json, type JsonObject } from "./json.ts";
import { modernLayer } from "./keras1.ts";

/** What {@link modelFromConfig} may be told. */
export interface ConfigOptions {
  /** Which Keras the model shall be of; absent: the one that wrote the config. */
  readonly flavor?: Flavor;
}

/**
 * Makes a model from the JSON that Keras 1, 2 or 3 wrote: `model.to_json()`, the `config.json` of an archive, the
 * `model_config` of a whole-model file, or a `model.json` of TensorFlow.js. Nothing in it is executed.
 *
 * ```ts
 * const model = modelFromConfig(await readFile("config.json", "utf8"));
 * ```
 *
 * @throws ERR_WEIGHTS_CONFIG
 */
export function modelFromConfig(config: object | string, options: ConfigOptions = {}): Model {
  const parsed: unknown = typeof config === "string" ? parse(config) : config;
  const entry = unwrap(parsed);
  const written = flavorOfConfig(entry);
  const reader = configReader(options.flavor ?? written, written);
  const layer = reader.layer(entry);
  if (isModel(layer)) return layer;
  return fail("ERR_WEIGHTS_CONFIG", `the config is of ${layer.className}, which is no model`);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    return fail("ERR_WEIGHTS_CONFIG", "the model config is not JSON", { cause });
  }
}

/** The entry of the model itself, out of what other programs put around it. */
function unwrap(value: unknown): JsonObject {
  if (!isObject(value)) return fail("ERR_WEIGHTS_CONFIG", "a model config is an object with class_name and config");
  const inner = value["modelTopology"] ?? value["model_config"];
  const { keras_version: version } = value;
  const read = typeof inner === "string" ? parse(inner) : inner;
  if (isObject(read)) return unwrap(version === undefined ? read : { keras_version: version, ...read });
  if (typeof value["class_name"] !== "string") {
    return fail("ERR_WEIGHTS_CONFIG", "the model config has no class_name: it is not one that Keras wrote");
  }
  return value;
}

/** Reads layer entries of one flavour. */
export function configReader(flavor: Flavor, sourceFlavor: Flavor = flavor): ConfigReader {
  const reader: ConfigReader = { flavor, sourceFlavor, layer: (entry) => readLayer(entry, reader) };
  return reader;
}

/** A reader that knows which Keras wrote the config, and of which Keras the model shall be. */
export interface ConfigReader extends FieldReader {
  readonly flavor: Flavor;
  readonly sourceFlavor: Flavor;
  layer(config: Json): Layer;
}

function readLayer(value: Json, reader: ConfigReader): Layer {
  const entry = modernLayer(value);
  const className = textAt(entry, "class_name");
  if (className === undefined) return fail("ERR_WEIGHTS_CONFIG", "a layer without a class_name");
  const layer = makeLayer(className, entry, reader);
  layer.keepSource(entry, reader.sourceFlavor);
  return layer;
}

function makeLayer(className: string, entry: JsonObject, reader: ConfigReader): Layer {
  const config = configOf(entry["config"]);
  if (className === "InputLayer") return readInput(config, reader.flavor);
  if (isOperation(entry, reader.sourceFlavor)) {
    return new OperationLayer(className, config, commonOptions(config, reader.flavor));
  }
  const registered = findLayer(className, reader.flavor);
  if (registered !== undefined) return readRegistered(registered, config, reader);
  if (className === "Sequential") return readSequential(entry, reader);
  if (isList(config["layers"]) && config["output_layers"] !== undefined)
    return readFunctional(className, config, reader);
  const options = commonOptions(config, reader.flavor);
  const layer = new UnknownLayer(className, config, options);
  return layer;
}

function commonOptions(config: JsonObject, flavor: Flavor): LayerOptions {
  return { name: textAt(config, "name"), trainable: config["trainable"] !== false, dtype: config["dtype"], flavor };
}

function readRegistered(found: Registered, config: JsonObject, reader: ConfigReader): Layer {
  const common = commonOptions(config, reader.flavor);
  if ("layerClass" in found) {
    const { layerClass } = found;
    const layer = layerClass.fromConfig?.(config) ?? new layerClass({ ...config, ...common } as never);
    layer.bindFlavor(reader.flavor);
    return layer;
  }
  return readDeclared(found.definition, config, common, reader);
}

function readDeclared(
  definition: Parameters<typeof readConfig<Fields>>[0],
  config: JsonObject,
  common: LayerOptions,
  reader: FieldReader,
): Layer {
  return new DeclaredLayer(definition, readConfig(definition, config, reader), {
    ...common,
    batchInputShape: shapeAt(config, "batch_input_shape") ?? shapeAt(config, "batch_shape"),
    inputShape: shapeAt(config, "input_shape"),
    activityRegularizer: config["activity_regularizer"],
  });
}

function readInput(config: JsonObject, flavor: Flavor): InputLayer {
  const shape = shapeAt(config, "batch_shape") ?? shapeAt(config, "batch_input_shape");
  if (shape === undefined) return fail("ERR_WEIGHTS_CONFIG", "an InputLayer without a batch_shape");
  return new InputLayer(shape, {
    name: textAt(config, "name"),
    dtype:
      textAt(config, "dtype") ??
      textAt(config, "input_dtype") ??
      (isObject(config["dtype"]) ? textAt(configOf(config["dtype"]["config"]), "name") : undefined),
    sparse: config["sparse"] === true,
    ragged: config["ragged"] === true,
    optional: config["optional"] === true,
    flavor,
  });
}

function readSequential(entry: JsonObject, reader: ConfigReader): Sequential {
  // Keras before 2.2.3 wrote the list of layers in place of the config.
  const bare = entry["config"];
  const config = configOf(bare);
  const entries = isList(bare) ? bare : config["layers"];
  if (!isList(entries)) return fail("ERR_WEIGHTS_CONFIG", "a Sequential config without layers");
  const items = entries.map((item) => reader.layer(item));
  const model = new Sequential(items, { name: textAt(config, "name"), flavor: reader.flavor, dtype: config["dtype"] });
  const shape = shapeAt(config, "build_input_shape");
  if (!model.built && shape !== undefined) model.build(shape);
  if (!model.built && isObject(entry["build_config"])) buildFrom(model, entry["build_config"]);
  items.forEach((layer, i) => {
    const item = entries[i];
    if (!layer.built && isObject(item) && isObject(item["build_config"])) buildFrom(layer, item["build_config"]);
  });
  return model;
}

function shapeAt(config: JsonObject, key: string): Shape | undefined {
  const value = config[key];
  return isShape(value) ? value : undefined;
}
