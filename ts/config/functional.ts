import type { FieldReader } from "../layers/fields.ts";
import { configOf } from "../layers/opaque.ts";
import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import { Functional } from "../model/functional.ts";
import type { Layer } from "../model/layer.ts";
import { isModel, type Model } from "../model/model.ts";
import { isShape } from "../model/shape.ts";
import { flatten, type Structure } from "../model/structure.ts";
import { isSymbolic, type CallArgument, type Symbolic } from "../model/symbolic.ts";
import { buildFrom } from "./build_config.ts";
import { isList, isObject, textAt, type Json, type JsonObject } from "./json.ts";

type Reader = FieldReader & { readonly flavor: Flavor; readonly sourceFlavor: Flavor };
interface Call {
  readonly args: readonly CallArgument[];
  readonly kwargs: Readonly<Record<string, CallArgument>>;
}

/** A call whose tensors are not all there yet. */
const notYet = Symbol("notYet");

interface Planned {
  readonly layer: Layer;
  readonly entry: JsonObject;
  readonly nodes: readonly Json[];
  done: number;
}

/** Makes a functional model from its config: layers first, then calls as soon as what they need is there. */
export function readFunctional(className: string, config: JsonObject, reader: Reader): Model {
  const planned = new Map<string, Planned>();
  for (const entry of listAt(config, "layers")) {
    if (!isObject(entry)) return fail("ERR_WEIGHTS_CONFIG", "a layer of a config is an object");
    const name = textAt(entry, "name") ?? textAt(configOf(entry["config"]), "name");
    if (name === undefined) return fail("ERR_WEIGHTS_CONFIG", "a layer of a functional model has no name");
    const nodes = entry["inbound_nodes"];
    planned.set(name, { layer: reader.layer(entry), entry, nodes: isList(nodes) ? nodes : [], done: 0 });
  }
  const calls = new Calls(planned, reader.sourceFlavor);
  calls.run();
  const model = new FunctionalOf(className, {
    name: textAt(config, "name"),
    flavor: reader.flavor,
    inputs: calls.ends(config["input_layers"]),
    outputs: calls.ends(config["output_layers"]),
    // Keras 2 forgets a model's own flag here; its layers have theirs.
    trainable: reader.flavor === "keras2" || config["trainable"] !== false,
  });
  return model;
}

/** A functional model under the class name of its config (`Functional`, `Model`, or a user's class). */
class FunctionalOf extends Functional {
  readonly #className: string;

  constructor(className: string, options: ConstructorParameters<typeof Functional>[0]) {
    super(options);
    this.#className = className;
  }

  override get className(): string {
    const bare = this.#className.slice(this.#className.lastIndexOf(">") + 1);
    return bare === "Model" || bare === "Network" || bare === "Container" ? "Functional" : bare;
  }
}

function listAt(config: JsonObject, key: string): readonly Json[] {
  const value = config[key];
  return isList(value) ? value : fail("ERR_WEIGHTS_CONFIG", `the config of a functional model has no ${key}`);
}

/** The calls of a functional config. */
class Calls {
  readonly #planned: ReadonlyMap<string, Planned>;

  readonly #flavor: Flavor;

  constructor(planned: ReadonlyMap<string, Planned>, flavor: Flavor) {
    this.#planned = planned;
    this.#flavor = flavor;
  }

  run(): void {
    let open = [...this.#planned.values()].filter(({ nodes }) => nodes.length > 0);
    while (open.length > 0) {
      let progress = false;
      for (const plan of open) progress = this.#advance(plan) || progress;
      open = open.filter(({ done, nodes }) => done < nodes.length);
      if (!progress) {
        const names = open.map(({ layer }) => layer.name).join(", ");
        fail("ERR_WEIGHTS_CONFIG", `the calls of these layers have a loop or inputs that do not exist: ${names}`);
      }
    }
    for (const { layer, entry } of this.#planned.values()) {
      if (!layer.built && isObject(entry["build_config"])) buildFrom(layer, entry["build_config"]);
    }
  }

  #advance(plan: Planned): boolean {
    const before = plan.done;
    while (plan.done < plan.nodes.length) {
      const call = this.#read(plan.nodes[plan.done] ?? null);
      if (call === notYet) break;
      teachShapes(plan.entry, call);
      plan.layer.applyNode(call.args, call.kwargs);
      plan.done += 1;
    }
    return plan.done > before;
  }

  #read(node: Json): Call | typeof notYet {
    return isObject(node) ? this.#readKeras3(node) : this.#readKeras2(node);
  }

  #readKeras3(node: JsonObject): Call | typeof notYet {
    const missing: Json[] = [];
    const value = (item: Json): CallArgument => {
      if (isList(item)) return item.map(value);
      if (!isObject(item)) return item;
      if (item["class_name"] === "__keras_tensor__") {
        const config = configOf(item["config"]);
        const tensor = this.#tensor(config["keras_history"], 0);
        if (tensor === undefined) {
          missing.push(item);
          return null;
        }
        if (isShape(config["shape"])) tensor.learn(config["shape"]);
        return tensor;
      }
      if (item["class_name"] === "__tuple__" && isList(item["items"])) {
        const items = item["items"].map(value);
        if (flatten(items, isSymbolic).length > 0 || missing.length > 0) return items;
      }
      // Slices, dtypes, constants and tuples of them: no tensors of the graph, written again as they are.
      if (item["class_name"] !== undefined) return item;
      return Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, value(inner)]));
    };
    const args = (isList(node["args"]) ? node["args"] : []).map(value);
    const kwargs = Object.fromEntries(
      Object.entries(configOf(node["kwargs"])).map(([key, item]) => [key, value(item)]),
    );
    return missing.length > 0 ? notYet : { args, kwargs };
  }

  /** Keras 1 and 2: `[name, node, tensor, kwargs]` in any nesting, all of the first argument. */
  #readKeras2(node: Json): Call | typeof notYet {
    const missing: Json[] = [];
    const kwargs: Record<string, CallArgument> = {};
    const tensorOf = (reference: Json): CallArgument => {
      const tensor = this.#tensor(reference, 1);
      if (tensor === undefined) missing.push(reference);
      return tensor ?? null;
    };
    const inKwargs = (item: Json): CallArgument => {
      if (isReference(item) && this.#planned.has(item[0])) return tensorOf(item);
      if (isList(item)) return item.map(inKwargs);
      return isObject(item)
        ? Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, inKwargs(inner)]))
        : item;
    };
    const value = (item: Json): CallArgument => {
      if (isReference(item)) {
        const more = item[3];
        if (isObject(more)) for (const [key, inner] of Object.entries(more)) kwargs[key] = inKwargs(inner);
        return item[0] === "_CONSTANT_VALUE" ? item[2] : tensorOf(item);
      }
      if (isList(item)) return item.map(value);
      return isObject(item)
        ? Object.fromEntries(Object.entries(item).map(([key, inner]) => [key, value(inner)]))
        : item;
    };
    const first = value(node);
    const single = Array.isArray(first) && first.length === 1 ? (first as CallArgument[])[0] : first;
    return missing.length > 0 ? notYet : { args: single === undefined ? [] : [single], kwargs };
  }

  /**
   * The tensor of `[layer, node, tensor]`. `offset`: what the node numbers of nested models begin with, whose own
   * inside Keras counts as a first call.
   */
  #tensor(reference: Json | undefined, offset: 0 | 1): Symbolic | undefined {
    if (!isReference(reference)) return fail("ERR_WEIGHTS_CONFIG", "a call's input is not [layer, node, tensor]");
    const [name, nodeIndex, tensorIndex] = reference;
    const layer = this.#planned.get(name)?.layer;
    if (layer === undefined) return fail("ERR_WEIGHTS_CONFIG", `a call needs the layer "${name}", which is not there`);
    const skip = offset === 1 && isModel(layer) && layer.countsOwnNode(this.#flavor) ? 1 : 0;
    const index = typeof nodeIndex === "number" ? nodeIndex : 0;
    return layer.nodes[index - skip]?.outputs[typeof tensorIndex === "number" ? tensorIndex : 0];
  }

  /** Inputs or outputs: one reference, or lists and dictionaries of them. */
  ends(value: Json | undefined): Structure<Symbolic> {
    if (isReference(value)) {
      const tensor = this.#tensor(value, 1);
      return (
        tensor ?? fail("ERR_WEIGHTS_CONFIG", `an input or output of the model does not exist: ${JSON.stringify(value)}`)
      );
    }
    // Keras 1 and 2 write a single tensor as a list of one.
    if (isList(value) && value.length === 1 && this.#flavor === "keras2") return this.ends(value[0]);
    if (isList(value)) return value.map((item) => this.ends(item));
    if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.ends(item)]));
    return fail("ERR_WEIGHTS_CONFIG", "a functional model has no input_layers or output_layers");
  }
}

function isReference(value: Json | undefined): value is readonly [string, Json, Json, ...Json[]] {
  return isList(value) && value.length >= 3 && typeof value[0] === "string" && !isList(value[1]);
}

/** What Keras noted of a layer's input shape says the shape behind a layer that nobody declared. */
function teachShapes(entry: JsonObject, { args }: Call): void {
  const noted = configOf(entry["build_config"])["input_shape"];
  const tensors = flatten(args, isSymbolic);
  if (isShape(noted) && tensors.length === 1) tensors[0]?.learn(noted);
  else if (isList(noted) && noted.length === tensors.length) {
    noted.forEach((shape, i) => {
      if (isShape(shape)) tensors[i]?.learn(shape);
    });
  }
}
