import { isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import { Layer, type LayerOptions } from "../model/layer.ts";
import type { AttributeValue, Attribute } from "../model/attributes.ts";
import type { Adopted } from "../model/unknown.ts";
import type { Flavor } from "../model/flavor.ts";
import { snakeCase } from "../model/naming.ts";
import { unknownShape, type ShapeStructure } from "../model/shape.ts";
import { flatten, type Structure } from "../model/structure.ts";
import { isSymbolic, Symbolic, type CallArgument } from "../model/symbolic.ts";

type Call = [
  args: readonly CallArgument[],
  kwargs: Readonly<Record<string, CallArgument>>,
  shapes: Readonly<Record<string, ShapeStructure | typeof unknownShape>>,
];

/**
 * A layer of a class that nobody declared, as a config names it. It is data: its code is never run. Its weights are
 * unknown until a file or a definition (`registerLayer`) tells them.
 */
export class UnknownLayer extends Layer {
  static override readonly className: string = "Layer";
  readonly #className: string;
  readonly #configName: string;
  readonly #config: JsonObject;
  #adopted: { readonly layout: Adopted["layout"]; readonly parts: readonly Attribute[] } | undefined;

  constructor(className: string, config: JsonObject, options: LayerOptions) {
    const bare = className.slice(className.lastIndexOf(">") + 1);
    const prefix = { prefix: snakeCase(bare) };
    super(options, { keras2: prefix, keras3: prefix });
    this.#className = bare;
    this.#configName = className;
    this.#config = config;
  }

  override get className(): string {
    return this.#className;
  }

  /** @internal */
  override configName(): string {
    return this.#configName;
  }

  /** @internal Whether nobody told its weights yet. */
  override lacksWeights(): boolean {
    return this.#adopted === undefined;
  }

  /** @internal */
  override get adoptedLayout(): Adopted["layout"] | undefined {
    return this.#adopted?.layout;
  }

  /** @internal Takes over weights that a file has for it, and what the file has below it as layers of its own. */
  override adopt({ layout, weights, parts }: Adopted): void {
    this.runBuild({}, () => {
      for (const { name, shape, dtype } of weights) this.addWeight({ name, shape, dtype, initializer: "zeros" });
      const inside = parts.map(([name, found]): Attribute => {
        const part = new UnknownLayer(name, {}, { name, flavor: this.flavor, trainable: this.trainable });
        part.adopt(found);
        return [name, { layer: part } satisfies AttributeValue];
      });
      this.#adopted = { layout, parts: inside };
    });
  }

  /** @internal Forgets what it took over. */
  override forget(): void {
    this.#adopted = undefined;
    this.dropBuild();
  }

  /** @internal */
  override attributes(): Attribute[] {
    return [...(this.#adopted?.parts ?? [])];
  }

  override build(): void {
    // What it makes of a shape is not known.
  }

  override getConfig(): JsonObject {
    return this.#config;
  }

  /** @internal What it gives is not known, unless a config says so. */
  override outputs(...call: Call): Structure<Symbolic> {
    const [, , shapes] = call;
    return new Symbolic(unknownShape, Object.keys(shapes).length > 0 ? this.dtypePolicy.compute : "float32");
  }
}

const elementwise =
  /\b(?:Add|Subtract|Multiply|Divide|TrueDivide|Power|Negative|Absolute|Square|Sqrt|Exp|Log|Relu|Sigmoid|Tanh|Gelu|Silu|Cast|__operators__\.(?:add|sub|mul|truediv|pow|neg|radd|rsub|rmul)|math\.(?:add|subtract|multiply|divide|negative|abs|square|sqrt|exp|log|tanh|sigmoid|pow)|nn\.(?:relu|gelu|silu|tanh|sigmoid)|cast)$/;

/** A bare operation in a graph (`x + y`, `keras.ops…`): no weights, and in Keras 3 no layer either. */
export class OperationLayer extends UnknownLayer {
  /** @internal */
  override lacksWeights(): boolean {
    return false;
  }

  /** @internal Operations that go element by element keep the shape; of the others it is not known. */
  override outputs(...call: Call): Structure<Symbolic> {
    const [args, kwargs] = call;
    const tensors = flatten([args, kwargs], isSymbolic);
    const [first] = tensors;
    const name = `${this.className} ${textAt(this.getConfig(), "function") ?? ""}`;
    if (first === undefined || first.shape === unknownShape || !elementwise.test(name)) {
      return super.outputs(...call);
    }
    const ranked = tensors
      .filter(({ shape }) => shape !== unknownShape)
      .sort((a, b) => b.shape.length - a.shape.length);
    return new Symbolic((ranked[0] ?? first).shape, first.dtype);
  }

  /** @internal */
  override isOperation(): boolean {
    return this.flavor === "keras3";
  }
}

// How Keras 2 wraps functions of TensorFlow into layers.
const wrappedFunctions = new Set([
  "TFOpLambda",
  "SlicingOpLambda",
  "ClassMethod",
  "InstanceMethod",
  "InstanceProperty",
  "TensorFlowOpLayer",
]);

/** Whether a config entry names an operation and no layer. */
export function isOperation(entry: JsonObject, flavor: Flavor): boolean {
  const { module } = entry;
  const className = textAt(entry, "class_name") ?? "";
  if (wrappedFunctions.has(className)) return true;
  if (typeof module === "string") return /^keras\.(?:src\.)?ops\b/.test(module);
  // Inside .h5 files Keras 3 leaves the module out. Every layer has a dtype there, operations have not.
  const config = configOf(entry["config"]);
  return flavor === "keras3" && "inbound_nodes" in entry && !("dtype" in config) && !("layers" in config);
}

/** A JSON value as a config, `{}` when it is none. */
export function configOf(value: Json | undefined): JsonObject {
  return isObject(value) ? value : {};
}
