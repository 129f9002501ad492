import { fail } from "./failure.ts";
import { defaultFlavor, type Flavor } from "./flavor.ts";
import { mapGraph, onOwnInputs, type Graph } from "./graph.ts";
import { Layer, type LayerOptions } from "./layer.ts";
import { trackedIn, type AttributeValue } from "./attributes.ts";
import type { ModelKind } from "./model_kind.ts";
import type { NamePrefix, ObjectName } from "./naming.ts";
import type { PerFlavor } from "./flavor.ts";
import { isShape, unknownShape, type MaybeShape, type ShapeStructure } from "./shape.ts";
import { flatten, mapStructure, type Structure } from "./structure.ts";
import { isSymbolic, Symbolic, type CallArgument } from "./symbolic.ts";
import { describeSummary, type SummaryOptions } from "./summary.ts";
import { writeModel } from "../config/write.ts";
import type { JsonObject } from "../config/json.ts";
import type { Asset } from "../io/assets.ts";
import { saveModel, saveModelSync, type SaveModelOptions, type SaveModelSyncOptions } from "../io/save_model.ts";
import type { SaveReport } from "../io/save.ts";
import type { Optimizer } from "../optimizers/optimizer.ts";
import { Compilation, type CompileOptions } from "../training/compilation.ts";

/** What every model may be given. */
export interface ModelOptions extends LayerOptions {
  /** Inputs of a functional model: a tensor, or lists and dictionaries of them. */
  readonly inputs?: Structure<Symbolic> | undefined;
  /** Outputs of a functional model. */
  readonly outputs?: Structure<Symbolic> | undefined;
}

/**
 * A model: a layer that is saved and loaded as a whole. Extend it and keep layers in properties, lists and maps, as in
 * Keras; or give `inputs` and `outputs` to `super` for a functional model with further attributes.
 *
 * ```ts
 * class Classifier extends Model {
 *   static override readonly className = "Classifier";
 *   hidden = layers.dense(64);
 *   head = layers.dense(10);
 *   override call(x: Structure<Symbolic>) {
 *     return this.head.apply(this.hidden.apply(x));
 *   }
 * }
 * const model = new Classifier();
 * model.build([null, 784]);
 * ```
 */
export abstract class Model extends Layer {
  static override readonly className: string = "Model";
  readonly #graph: Graph | undefined;
  #compilation: Compilation | undefined;
  #assets: readonly Asset[] = [];

  constructor(options: ModelOptions = {}, name?: ObjectName | PerFlavor<NamePrefix>) {
    super({ ...options, flavor: options.flavor ?? defaultFlavor }, name);
    const { inputs, outputs } = options;
    if (inputs === undefined && outputs === undefined) return;
    if (inputs === undefined || outputs === undefined) {
      fail("ERR_WEIGHTS_ARGUMENT", "a functional model needs inputs and outputs", { layer: this.name });
    }
    const ends = onOwnInputs({ inputs, outputs }, this.flavor);
    this.#graph = mapGraph(ends.inputs, ends.outputs);
    for (const layer of this.#graph.layers) layer.bindFlavor(this.flavor);
    this.runBuild({}, () => undefined);
    if (options.trainable === false && this.flavor === "keras2") this.trainable = false;
  }

  /** What it is for the layouts of files. */
  override get kind(): ModelKind {
    return this.#graph === undefined ? "model" : "functional";
  }

  /** @internal The calls of a functional model. */
  get graph(): Graph | undefined {
    return this.#graph;
  }

  /** Its layers, as Keras lists them: of a functional model by the graph, of a subclassed one by the properties. */
  get layers(): readonly Layer[] {
    if (this.#graph !== undefined && this.flavor === "keras3") {
      return this.#graph.layers.filter((layer) => !layer.isOperation());
    }
    return this.trackedLayers();
  }

  /** @internal Keras 3 counts the inside of functional models, Keras 2 that of Sequential models with an input as well. */
  override countsOwnNode(flavor: Flavor = this.flavor): boolean {
    return this.kind === "functional" || (this.kind === "sequential" && flavor === "keras2" && this.built);
  }

  /** @internal */
  override listedLayers(): readonly Layer[] {
    return this.layers;
  }

  /**
   * A layer by its name, or by its place in {@link layers}.
   *
   * ```ts
   * model.getLayer("dense").setWeights([kernel, bias]);
   * ```
   */
  getLayer(nameOrIndex: string | number): Layer {
    const { layers } = this;
    const found =
      typeof nameOrIndex === "number" ? layers[nameOrIndex] : layers.find(({ name }) => name === nameOrIndex);
    if (found !== undefined) return found;
    return fail(
      "ERR_WEIGHTS_ARGUMENT",
      `the model "${this.name}" has no layer ${JSON.stringify(nameOrIndex)}; it has ${layers.map(({ name }) => name).join(", ")}`,
    );
  }

  /** A table of layers, output shapes and parameters that reads as Keras' `summary()`. */
  summary(options: SummaryOptions = {}): string {
    return describeSummary(this, options);
  }

  /** The model as Keras' `to_json()` writes it, without weights. */
  toJSON(): JsonObject {
    return writeModel(this);
  }

  /**
   * Says how Keras shall train it: data that whole-model files keep. Nothing trains here.
   *
   * ```ts
   * model.compile({ optimizer: "adam", loss: "mse", metrics: ["mae"] });
   * await model.save("to-train.keras");
   * ```
   *
   * @throws ERR_WEIGHTS_CONFIG for an optimizer's config without a class name.
   */
  compile(options: CompileOptions = {}): void {
    this.#compilation = Compilation.of(options, this.flavor);
  }

  /** The optimizer that it was compiled with, or that came with the file. */
  get optimizer(): Optimizer | undefined {
    return this.#compilation?.optimizer;
  }

  /** @internal How it was compiled. */
  get compilation(): Compilation | undefined {
    return this.#compilation;
  }

  /** @internal Whether its class says its config. */
  givesConfig(): boolean {
    return this.getConfig !== Layer.prototype.getConfig;
  }

  /** @internal Files of its layers, such as vocabularies, that came with an archive and go into the next. */
  get assets(): readonly Asset[] {
    return this.#assets;
  }

  /** @internal Takes over the files of an archive. */
  keepAssets(assets: readonly Asset[]): void {
    this.#assets = assets;
  }

  /** @internal Takes over how it was compiled from a file. */
  compileFrom(compilation: Compilation): void {
    this.#compilation = compilation;
  }

  /** @internal */
  override heldOptimizer(): Optimizer | undefined {
    const optimizer = this.#compilation?.optimizer;
    if (optimizer !== undefined && !optimizer.built && this.built) optimizer.build(this.trainableWeights);
    return optimizer;
  }

  /**
   * Saves the whole model: config, weights, how it was compiled, and the optimizer with its state. `.keras` or `.h5`,
   * by the suffix.
   *
   * ```ts
   * const model = await loadModel("mnist.keras");
   * await model.save("copy.h5", { overwrite: false });
   * ```
   *
   * @throws ERR_WEIGHTS_CONFIG for a model whose class is not Keras' own and gives no config; what `saveWeights` throws.
   */
  async save(destination: string | URL, options?: SaveModelOptions): Promise<SaveReport> {
    return saveModel(this, destination, options);
  }

  /** {@link save}, here and now. */
  saveSync(destination: string | URL, options?: SaveModelSyncOptions): SaveReport {
    return saveModelSync(this, destination, options);
  }

  /** Input shapes, nested as the inputs are; undefined before they are known. */
  get inputShape(): Structure<MaybeShape> | undefined {
    return this.#graph && mapStructure(this.#graph.inputs, isSymbolic, ({ shape }) => shape);
  }

  /** Output shapes, nested as the outputs are; undefined before they are known. */
  get outputShape(): Structure<MaybeShape> | undefined {
    return this.#graph && mapStructure(this.#graph.outputs, isSymbolic, ({ shape }) => shape);
  }

  override build(inputShape: ShapeStructure): void {
    if (this.#graph !== undefined) return;
    if (this.call !== undefined) {
      super.build(inputShape);
      return;
    }
    fail(
      "ERR_WEIGHTS_UNBUILT",
      `the model "${this.name}" must say in call() or build() how its layers get their input shapes`,
    );
  }

  override computeOutputShape(inputShape: ShapeStructure): ShapeStructure {
    if (this.#graph === undefined) return super.computeOutputShape(inputShape);
    const result = runGraph(this.#graph, flatten(inputShape, isShape));
    return mapStructure(result, isSymbolic, ({ shape }) =>
      shape === unknownShape
        ? fail("ERR_WEIGHTS_UNKNOWN_LAYER", `the output shape of "${this.name}" is not known`)
        : shape,
    );
  }

  /** @internal */
  override outputs(
    args: readonly CallArgument[],
    kwargs: Readonly<Record<string, CallArgument>>,
    shapes: Readonly<Record<string, ShapeStructure | typeof unknownShape>>,
  ): Structure<Symbolic> {
    if (this.#graph === undefined) return super.outputs(args, kwargs, shapes);
    const inputs = flatten(args, isSymbolic).map((tensor) => tensor.shape);
    return runGraph(this.#graph, inputs);
  }

  /** @internal */
  override bindFlavor(flavor: Flavor): void {
    super.bindFlavor(flavor);
    for (const layer of this.#graph?.layers ?? []) layer.bindFlavor(flavor);
  }

  /** @internal What is tracked: the graph's layers, then those in properties. */
  override trackedValues(): AttributeValue[] {
    if (this.#graph === undefined) return super.trackedValues();
    this.settle();
    const graph = new Set(this.#graph.layers);
    const more = trackedIn(this.attributes(), this.flavor).filter(
      (value) => !("layer" in value && graph.has(value.layer)),
    );
    const layers = this.#graph.layers.filter((layer) => !layer.isOperation());
    return [...layers.map((layer) => ({ layer })), ...more];
  }
}

/** Sends other shapes through a graph, as a call of a functional model on other inputs does. */
export function runGraph(graph: Graph, inputs: readonly MaybeShape[]): Structure<Symbolic> {
  const known = new Map<Symbolic, Symbolic>();
  flatten(graph.inputs, isSymbolic).forEach((tensor, i) => {
    known.set(tensor, new Symbolic(inputs[i] ?? tensor.shape, tensor.dtype));
  });
  for (const node of graph.order) {
    if (node.isInput || node.outputs.every((output) => known.has(output))) continue;
    const fill = (arg: CallArgument): CallArgument =>
      mapStructure(arg as Structure<Symbolic>, isSymbolic, (tensor) => known.get(tensor) ?? tensor);
    const args = node.args.map(fill);
    const kwargs = Object.fromEntries(Object.entries(node.kwargs).map(([name, arg]) => [name, fill(arg)]));
    const result = node.layer.outputs(args, kwargs, node.layer.namedShapes(args, kwargs));
    flatten(result, isSymbolic).forEach((tensor, i) => {
      const output = node.outputs[i];
      if (output !== undefined) known.set(output, tensor);
    });
  }
  return mapStructure(graph.outputs, isSymbolic, (tensor) => copyOf(known.get(tensor) ?? tensor));
}

function copyOf({ shape, dtype }: Symbolic): Symbolic {
  return new Symbolic(shape, dtype);
}

/** Whether a value is a model. */
export function isModel(value: unknown): value is Model {
  return value instanceof Model;
}
