import { InputLayer } from "../model/input_layer.ts";
import { isDictionary, mapStructure, type Structure } from "../model/structure.ts";
import { isSymbolic, type CallArgument, type CallNode, type Symbolic } from "../model/symbolic.ts";
import type { Graph } from "../model/graph.ts";
import type { Layer } from "../model/layer.ts";
import type { Model } from "../model/model.ts";
import { policyConfig } from "../model/dtype_policy.ts";
import { unknownShape } from "../model/shape.ts";
import { DeclaredLayer } from "../layers/declared.ts";
import { configOf, OperationLayer } from "../layers/opaque.ts";
import type { Json, JsonObject } from "./json.ts";

/** The version that configs of Keras 2 models say they were written by. */
const keras2Version = "2.15.0";

/** A model as its Keras' `to_json()` writes it. What came from a config keeps the parts that we do not know. */
export function writeModel(model: Model): JsonObject {
  const entry = writeLayer(model);
  if (model.flavor === "keras3") {
    const compiled = model.compilation?.compileConfig() ?? entry["compile_config"] ?? {};
    return { ...writeArchiveModel(model, undefined), compile_config: compiled };
  }
  const { class_name: className = model.className, config = {} } = entry;
  const { keras_version: version = keras2Version, backend = "tensorflow" } = model.source ?? {};
  return { class_name: className, config, keras_version: version, backend };
}

/** The `config.json` of a `.keras` archive. */
export function writeArchiveModel(model: Model, compileConfig: JsonObject | undefined): JsonObject {
  const entry = writeLayer(model);
  const {
    module = null,
    class_name: className = model.className,
    config = {},
    registered_name: registered = null,
    build_config: build = null,
  } = entry;
  return {
    module,
    class_name: className,
    config,
    registered_name: registered,
    ...(build !== null && { build_config: build }),
    ...(compileConfig !== undefined && { compile_config: compileConfig }),
  };
}

/** A layer as an entry of a config: class, config, and the shapes it was built with. */
export function writeLayer(layer: Layer): JsonObject {
  const kept = keptSource(layer);
  const entry: Record<string, Json> = {
    module: moduleOf(layer),
    registered_name: registeredName(layer),
    ...kept,
    class_name: layer.configName(),
    config: writeConfig(layer, configOf(kept?.["config"])),
  };
  delete entry["inbound_nodes"];
  delete entry["name"];
  const build = buildConfig(layer);
  if (build !== undefined) entry["build_config"] ??= build;
  return entry;
}

function keptSource(layer: Layer): JsonObject | undefined {
  return layer.sourceFlavor === layer.flavor ? layer.source : undefined;
}

function writeConfig(layer: Layer, kept: JsonObject): JsonObject {
  if (layer instanceof InputLayer) return layer.getConfig();
  const base: JsonObject = layer.writesPlainConfig()
    ? { name: layer.name, dtype: layer.dtypePolicy.name }
    : { name: layer.name, trainable: layer.trainable, dtype: policyConfig(layer.dtypePolicy, layer.flavor) };
  const common: JsonObject = layer.writesNameOnly() ? { name: layer.name } : base;
  if (layer.kind === "sequential") return writeSequential(layer as Model, kept, base);
  if (layer.kind === "functional") return writeFunctional(layer as Model, kept);
  if (Object.keys(kept).length > 0)
    return { ...kept, name: layer.name, ...(kept["trainable"] !== undefined && { trainable: layer.trainable }) };
  const writer = { flavor: layer.flavor, layer: writeLayer };
  return { ...common, ...(layer instanceof DeclaredLayer ? layer.writeConfig(writer) : layer.getConfig()) };
}

function moduleOf(layer: Layer): Json {
  if (layer.kind === "sequential") return "keras";
  if (layer.kind === "functional") {
    return layer.flavor === "keras3" ? "keras.src.models.functional" : "keras.src.engine.functional";
  }
  return layer.pythonModule() ?? null;
}

function registeredName(layer: Layer): Json {
  if (layer.kind === "functional") return "Functional";
  return layer.pythonModule() === undefined && layer.kind !== "sequential" ? layer.className : null;
}

function buildConfig(layer: Layer): JsonObject | undefined {
  if (!layer.built || layer instanceof InputLayer || layer instanceof OperationLayer) return undefined;
  if (layer.kind === "functional") return { input_shape: null };
  const shapes = Object.entries(layer.writtenShapes ?? {});
  const [first] = shapes;
  if (first === undefined) return undefined;
  if (shapes.length === 1 || layer.flavor === "keras2") return { input_shape: first[1] as Json };
  return { shapes_dict: Object.fromEntries(shapes.map(([name, shape]) => [`${name}_shape`, shape as Json])) };
}

function writeSequential(model: Model, kept: JsonObject, base: JsonObject): JsonObject {
  const stack = model.trackedLayers();
  const list = { layers: stack.map(writeLayer) };
  if (model.flavor === "keras2") return { ...kept, name: model.name, ...list };
  const first = stack[0];
  const shape = model.built && first instanceof InputLayer ? { build_input_shape: [...first.batchShape] } : {};
  return { ...base, ...kept, name: model.name, trainable: model.trainable, ...list, ...shape };
}

function writeFunctional(model: Model, kept: JsonObject): JsonObject {
  const { graph } = model;
  if (graph === undefined) return kept;
  const references = new References(graph);
  const inside = model.flavor === "keras3" ? graph.layers : model.trackedLayers();
  const layers = inside.map((layer) => ({
    ...writeLayer(layer),
    name: layer.name,
    inbound_nodes: references
      .nodesOf(layer)
      .filter((node) => !node.isInput)
      .map((node) => references.writeNode(node)),
  }));
  const ends = (tensors: Structure<Symbolic>): Json => {
    const written = mapStructure<Symbolic, Json>(tensors, isSymbolic, (tensor) => references.writeEnd(tensor)) as Json;
    return isSymbolic(tensors) && model.flavor === "keras2" ? [written] : written;
  };
  return {
    ...kept,
    name: model.name,
    trainable: model.trainable,
    layers,
    input_layers: ends(graph.inputs),
    output_layers: ends(graph.outputs),
  };
}

/** Numbers of calls, as configs count them: only those of this model, and the inside of nested models first. */
class References {
  readonly #graph: Graph;

  constructor(graph: Graph) {
    this.#graph = graph;
  }

  nodesOf(layer: Layer): CallNode[] {
    return layer.nodes.filter((node) => this.#graph.nodes.has(node));
  }

  writeEnd(tensor: Symbolic): Json {
    return this.#reference(tensor, true);
  }

  writeNode(node: CallNode): Json {
    return node.layer.flavor === "keras3" ? this.#writeKeras3(node) : this.#writeKeras2(node);
  }

  #reference(tensor: Symbolic, countInside: boolean): Json[] {
    const history = tensor.history;
    const layer = history?.node.layer;
    if (history === undefined || layer === undefined) return [];
    const inside = countInside && layer.countsOwnNode() ? 1 : 0;
    return [layer.name, this.nodesOf(layer).indexOf(history.node) + inside, history.tensorIndex];
  }

  #writeKeras3(node: CallNode): Json {
    const value = (arg: CallArgument): Json => {
      if (isSymbolic(arg)) {
        const shape = arg.shape === unknownShape ? null : [...arg.shape];
        const config = { shape, dtype: arg.dtype, keras_history: this.#reference(arg, false) };
        return { class_name: "__keras_tensor__", config };
      }
      return nested(arg, value);
    };
    const kwargs = Object.fromEntries(Object.entries(node.kwargs).map(([name, arg]) => [name, value(arg)]));
    return { args: node.args.map(value), kwargs };
  }

  #writeKeras2(node: CallNode): Json {
    const inKwargs = (arg: CallArgument): Json =>
      isSymbolic(arg) ? this.#reference(arg, true) : nested(arg, inKwargs);
    const names = node.layer.callArguments();
    const more = node.args.slice(1).map((arg, i) => [names[i + 1] ?? `argument_${i + 1}`, arg] as const);
    const kwargs = Object.fromEntries(
      [...more, ...Object.entries(node.kwargs)].map(([name, arg]) => [name, inKwargs(arg)]),
    );
    const value = (arg: CallArgument): Json =>
      isSymbolic(arg) ? [...this.#reference(arg, true), kwargs] : nested(arg, value, ["_CONSTANT_VALUE", -1, kwargs]);
    const [first = null] = node.args;
    // Functions of TensorFlow keep the nesting of their arguments, layers take a tensor as a list of one.
    return isSymbolic(first) && !(node.layer instanceof OperationLayer) ? [value(first)] : value(first);
  }
}

function nested(
  arg: CallArgument,
  value: (arg: CallArgument) => Json,
  constant?: readonly [string, number, JsonObject],
): Json {
  if (Array.isArray(arg)) return (arg as CallArgument[]).map(value);
  if (isDictionary(arg)) {
    return Object.fromEntries(
      Object.entries(arg as Record<string, CallArgument>).map(([key, item]) => [key, value(item)]),
    );
  }
  return constant === undefined ? (arg as Json) : [constant[0], constant[1], arg as Json, constant[2]];
}
