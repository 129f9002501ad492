import { DeclaredLayer } from "../layers/declared.ts";
import type { AttributeValue } from "./attributes.ts";
import { fail } from "./failure.ts";
import type { Flavor } from "./flavor.ts";
import { mapGraph, type Graph } from "./graph.ts";
import { InputLayer } from "./input_layer.ts";
import { Layer, type LayerOptions } from "./layer.ts";
import { isModel, Model, runGraph } from "./model.ts";
import { takeName } from "./naming.ts";
import { isShape, mapShapes, unknownShape, type MaybeShape, type Shape, type ShapeStructure } from "./shape.ts";
import { flatten, mapStructure, type Structure } from "./structure.ts";
import { isSymbolic, Symbolic, type CallArgument } from "./symbolic.ts";

/** A layer, or the tensor of `layers.input()`, which stands for its input layer. */
export type SequentialItem = Layer | Symbolic;

/** A model that is a list of layers, each fed by the one before. */
export class Sequential extends Model {
  static override readonly className: string = "Sequential";
  #stack: Layer[] = [];
  #chain: Graph | undefined;

  constructor(items: readonly SequentialItem[] = [], options: LayerOptions = {}) {
    super(options);
    for (const item of items) this.#push(item);
    this.#buildIfKnown();
  }

  override get kind(): "sequential" {
    return "sequential";
  }

  /** @internal The chain of calls, once the input shape is known. */
  override get graph(): Graph | undefined {
    return this.#chain;
  }

  /** Its layers without the input. */
  override get layers(): readonly Layer[] {
    return this.#stack[0] instanceof InputLayer ? this.#stack.slice(1) : [...this.#stack];
  }

  /** @internal Its layers and its input. */
  get stack(): readonly Layer[] {
    return this.#stack;
  }

  /**
   * Puts a layer on top.
   *
   * ```ts
   * const m = sequential();
   * m.add(layers.input([5]));
   * m.add(layers.dense(2));
   * ```
   */
  add(item: SequentialItem): void {
    this.#push(item);
    this.#buildIfKnown();
  }

  override build(inputShape: ShapeStructure): void {
    if (!isShape(inputShape)) fail("ERR_WEIGHTS_ARGUMENT", "a Sequential model has one input");
    if (this.#stack.length === 0) fail("ERR_WEIGHTS_UNBUILT", `the model "${this.name}" has no layers to build`);
    const first = this.#stack[0];
    const input = first instanceof InputLayer ? first : new InputLayer(inputShape, this.#inputOptions());
    if (first !== input) this.#stack = [input, ...this.#stack];
    else if (!sameShape(input.batchShape, inputShape)) {
      fail("ERR_WEIGHTS_SHAPE", `the model "${this.name}" has another input shape already`, { layer: this.name });
    }
    input.bindFlavor(this.flavor);
    let x: Structure<Symbolic> = input.output;
    for (const layer of this.#stack.slice(1)) x = layer.applyNode([x], {});
    this.#chain = mapGraph(input.output, x);
    if (this.flavor === "keras3") takeName("keras3", { prefix: "functional" });
  }

  override get inputShape(): Structure<MaybeShape> | undefined {
    return this.#chain && mapStructure(this.#chain.inputs, isSymbolic, ({ shape }) => shape);
  }

  override get outputShape(): Structure<MaybeShape> | undefined {
    return this.#chain && mapStructure(this.#chain.outputs, isSymbolic, ({ shape }) => shape);
  }

  override computeOutputShape(inputShape: ShapeStructure): ShapeStructure {
    return this.#stack
      .slice(this.#stack[0] instanceof InputLayer ? 1 : 0)
      .reduce((shape, layer) => layer.computeOutputShape(shape), inputShape);
  }

  /** @internal */
  override outputs(
    args: readonly CallArgument[],
    _kwargs: Readonly<Record<string, CallArgument>>,
    shapes: Readonly<Record<string, ShapeStructure | typeof unknownShape>>,
  ): Structure<Symbolic> {
    const [first] = Object.values(shapes);
    if (this.#chain !== undefined)
      return runGraph(
        this.#chain,
        flatten(args, isSymbolic).map(({ shape }) => shape),
      );
    const dtype = this.dtypePolicy.compute;
    if (first === undefined || first === unknownShape) return new Symbolic(unknownShape, dtype);
    return mapShapes(this.computeOutputShape(first), (shape) => new Symbolic(shape, dtype));
  }

  /** @internal */
  override bindFlavor(flavor: Flavor): void {
    super.bindFlavor(flavor);
    for (const layer of this.#stack) layer.bindFlavor(flavor);
  }

  /** @internal */
  override trackedValues(): AttributeValue[] {
    this.settle();
    return this.#stack.map((layer) => ({ layer }));
  }

  #push(item: SequentialItem): void {
    const layer = isSymbolic(item) ? item.history?.node.layer : item;
    if (!(layer instanceof Layer)) fail("ERR_WEIGHTS_ARGUMENT", "a Sequential model takes layers");
    if (this.#stack.length === 0 && layer instanceof DeclaredLayer && layer.batchInputShape !== undefined) {
      const name = this.flavor === "keras2" ? `${layer.name}_input` : undefined;
      this.#stack.push(new InputLayer(layer.batchInputShape, { name, flavor: this.flavor }));
    }
    layer.bindFlavor(this.flavor);
    if (this.#stack.some((other) => other !== layer && other.name === layer.name)) {
      fail("ERR_WEIGHTS_NAME", `two layers of one model are named "${layer.name}"`, { layer: layer.name });
    }
    this.#stack.push(layer);
  }

  /** Keras builds as soon as the first layer says its input shape and there is a layer to feed. */
  #buildIfKnown(): void {
    const first = this.#stack[0];
    if (this.#stack.length < (this.flavor === "keras3" ? 2 : 1)) return;
    if (first instanceof InputLayer) this.build(first.batchShape);
    else if (isModel(first)) {
      const shape = first.inputShape;
      if (shape !== undefined && isShape(shape)) this.build(shape);
    }
  }

  #inputOptions(): { dtype?: string; name?: string } {
    const first = this.#stack[0];
    if (first === undefined) return {};
    return this.flavor === "keras2" ? { name: `${first.name}_input` } : { dtype: first.dtypePolicy.compute };
  }
}

function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((dim, axis) => dim === b[axis]);
}

/**
 * A Sequential model, as `keras.Sequential`.
 *
 * ```ts
 * const m = sequential([layers.input([784]), layers.dense(64, { activation: "relu" }), layers.dense(10)]);
 * ```
 */
export function sequential(items: readonly SequentialItem[] = [], options: LayerOptions = {}): Sequential {
  return new Sequential(items, options);
}
