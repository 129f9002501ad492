import type { JsonObject } from "../config/json.ts";
import { loadInto, loadIntoSync, type LoadOptions, type LoadReport, type LoadSyncOptions } from "../io/load.ts";
import { saveFrom, saveFromSync, type SaveOptions, type SaveReport, type SaveSyncOptions } from "../io/save.ts";
import type { Source } from "../io/source.ts";
import type { Optimizer } from "../optimizers/optimizer.ts";
import type { Tensor, TypedArray } from "../tensor.ts";
import { isKnown, knownShape, placeholders, shapesOf } from "./call_shapes.ts";
import { fail } from "./failure.ts";
import type { PerFlavor } from "./flavor.ts";
import { LayerState, type BuildShapes, type LayerOptions } from "./layer_state.ts";
import type { NamePrefix, ObjectName } from "./naming.ts";
import { inScope } from "./scope.ts";
import { mapShapes, unknownShape, type ShapeStructure } from "./shape.ts";
import { flatten, isDictionary, mapStructure, type Structure } from "./structure.ts";
import { CallNode, isSymbolic, Symbolic, type CallArgument } from "./symbolic.ts";
import { loadTarget, saveTarget } from "./unknown.ts";
import type { Variable } from "./variable.ts";
import { readWeights, weightLists, writeWeights } from "./weights.ts";

export type { BuildShapes, LayerOptions, WeightOptions } from "./layer_state.ts";

/**
 * A layer: a class name, a name, own weights, and sub-layers in its properties.
 *
 * A custom layer says its class name (bundlers rename classes), makes its weights in `build` or its constructor, and
 * keeps sub-layers in properties, lists, maps or plain objects, whose names are the ones Keras would use in files.
 *
 * ```ts
 * class Scale extends Layer {
 *   static override readonly className = "Scale";
 *   override build(inputShape: Shape): void {
 *     this.addWeight({ name: "scale", shape: [inputShape.at(-1) ?? 1], initializer: "ones" });
 *   }
 * }
 * ```
 */
export abstract class Layer extends LayerState {
  /** The Python class name: files, automatic names and configs are made from it. */
  static readonly className: string = "Layer";

  /** `name` and what automatic names begin with are for definitions; a custom layer gives `options` alone. */
  constructor(options: LayerOptions = {}, name?: ObjectName | PerFlavor<NamePrefix>) {
    super(options, name);
    wrapBuild(this);
  }

  readonly #nodes: CallNode[] = [];

  /** All weights, those of layers inside included, in the order of `getWeights`. */
  get weights(): readonly Variable[] {
    return weightLists(this).weights;
  }

  /** Weights that an optimizer may change, in Keras' order. */
  get trainableWeights(): readonly Variable[] {
    return weightLists(this).trainable;
  }

  /** Weights that no optimizer may change, in Keras' order. */
  get nonTrainableWeights(): readonly Variable[] {
    return weightLists(this).nonTrainable;
  }

  /** Number of elements of all weights. */
  countParams(): number {
    this.needBuilt();
    return this.weights.reduce((sum, { size }) => sum + size, 0);
  }

  /**
   * Values of all weights in Keras' order: live views, to be read. A weight that was never set gets the values of its
   * initializer.
   */
  getWeights(): Tensor[] {
    return readWeights(this);
  }

  /**
   * Copies values into all weights, in the order of {@link getWeights}, cast to their dtypes. Counts and shapes are
   * checked before anything changes.
   *
   * ```ts
   * model.getLayer("dense").setWeights([kernel, bias]);
   * ```
   *
   * @throws ERR_WEIGHTS_WEIGHT_COUNT, ERR_WEIGHTS_SHAPE
   */
  setWeights(values: readonly (Tensor | TypedArray)[]): void {
    writeWeights(this, values);
  }

  /**
   * Loads weights from a file of any format that is known, recognized by its content: all of them, or nothing and an
   * error. The work is done off the event loop.
   *
   * ```ts
   * const report = await model.loadWeights("mnist.weights.h5");
   * console.log(report.loaded.length, report.missing, report.unexpected);
   * ```
   *
   * @throws ERR_WEIGHTS_UNBUILT, ERR_WEIGHTS_LAYER_COUNT, ERR_WEIGHTS_WEIGHT_COUNT, ERR_WEIGHTS_SHAPE,
   * ERR_WEIGHTS_MISSING, ERR_WEIGHTS_NO_MATCH where file and model differ; ERR_WEIGHTS_NOT_FOUND,
   * ERR_WEIGHTS_NOT_WEIGHTS, ERR_WEIGHTS_TRUNCATED, ERR_WEIGHTS_CORRUPT, ERR_WEIGHTS_DIGEST for what is wrong with the
   * file; ERR_WEIGHTS_CHANGED when the model was changed meanwhile.
   */
  async loadWeights(source: Source, options?: LoadOptions): Promise<LoadReport> {
    const { target, failed } = loadTarget(this, source);
    try {
      return await loadInto(target, source, options);
    } catch (error) {
      failed();
      throw error;
    }
  }

  /** {@link loadWeights}, here and now. */
  loadWeightsSync(source: Source, options?: LoadSyncOptions): LoadReport {
    const { target, failed } = loadTarget(this, source);
    try {
      return loadIntoSync(target, source, options);
    } catch (error) {
      failed();
      throw error;
    }
  }

  /**
   * Saves the weights in the format that the name's suffix means to Keras, or `saveFormat`. The file is afterwards
   * either the old one or the new one, whole, whatever happens.
   *
   * ```ts
   * await model.saveWeights("out.weights.h5", { overwrite: false });
   * ```
   *
   * @throws ERR_WEIGHTS_EXISTS, ERR_WEIGHTS_FORMAT, ERR_WEIGHTS_UNBUILT, ERR_WEIGHTS_NOT_FOUND, ERR_WEIGHTS_IO,
   * ERR_WEIGHTS_CHANGED when values changed meanwhile.
   */
  async saveWeights(destination: string | URL, options?: SaveOptions): Promise<SaveReport> {
    return saveFrom(saveTarget(this), destination, options);
  }

  /** {@link saveWeights}, here and now. */
  saveWeightsSync(destination: string | URL, options?: SaveSyncOptions): SaveReport {
    return saveFromSync(saveTarget(this), destination, options);
  }

  /**
   * Makes the weights for an input shape (`null` for any length, the batch first). Custom layers override it.
   * Without an override, `call` (if there is one) is traced, which builds the layers it applies.
   */
  build(inputShape: ShapeStructure): void {
    if (this.call !== undefined) this.trace([placeholders(inputShape, this.dtypePolicy.compute)]);
  }

  /** Optional: how a custom layer applies its sub-layers, symbolically. Used to build them and to know shapes. */
  call?(inputs: Structure<Symbolic>): Structure<Symbolic>;

  /** The output's shape. Without an override: what `call` gives, or else the input's shape. */
  computeOutputShape(inputShape: ShapeStructure): ShapeStructure {
    if (this.call === undefined) return inputShape;
    const outputs = this.trace([placeholders(inputShape, this.dtypePolicy.compute)]);
    return mapStructure(outputs, isSymbolic, (tensor) => knownShape(tensor.shape, this));
  }

  /** Own properties for a config, in Keras' names; override it in layers that a config should be able to restore. */
  getConfig(): JsonObject {
    return {};
  }

  /**
   * Calls the layer on symbolic tensors: builds it if need be and gives the output. A second call shares the weights.
   * More arguments go in order; a plain object after the first argument gives arguments by name.
   *
   * ```ts
   * const y = layers.dense(4).apply(layers.input([3]));
   * const z = layers.multiHeadAttention(2, 8).apply(x, { value: x });
   * ```
   */
  apply(inputs: CallArgument, ...more: (CallArgument | Record<string, CallArgument>)[]): Symbolic {
    const outputs = this.applyNested(inputs, ...more);
    if (isSymbolic(outputs)) return outputs;
    const all = flatten(outputs, isSymbolic);
    const [first] = all;
    if (all.length === 1 && first) return first;
    return fail("ERR_WEIGHTS_ARGUMENT", `${this.className} gives ${all.length} tensors: take them with applyNested()`, {
      layer: this.name,
    });
  }

  /** As {@link apply}, for layers that give a list or dictionary of tensors. */
  applyNested(inputs: CallArgument, ...more: (CallArgument | Record<string, CallArgument>)[]): Structure<Symbolic> {
    const last = more.at(-1);
    const byName = last !== undefined && isDictionary(last);
    const args = [inputs, ...(byName ? more.slice(0, -1) : more)] as CallArgument[];
    return this.applyNode(args, byName ? last : {});
  }

  /** @internal One call with positional and named arguments. */
  applyNode(args: readonly CallArgument[], kwargs: Readonly<Record<string, CallArgument>>): Structure<Symbolic> {
    const result = inScope(this.openScope(true), () => {
      const shapes = this.namedShapes(args, kwargs);
      if (!this.wasBuilt && Object.values(shapes).every(isKnown)) this.buildWith(shapes as BuildShapes);
      return this.outputs(args, kwargs, shapes);
    });
    if (tracing === 0) this.#nodes.push(new CallNode(this, args, kwargs, result));
    return result;
  }

  /** @internal The shapes of a call's tensors under the names of the call's arguments. */
  namedShapes(
    args: readonly CallArgument[],
    kwargs: Readonly<Record<string, CallArgument>>,
  ): Record<string, ShapeStructure | typeof unknownShape> {
    const names = this.callArguments();
    const shapes: Record<string, ShapeStructure | typeof unknownShape> = {};
    args.forEach((arg, i) => {
      const found = shapesOf(arg);
      if (found !== undefined) shapes[names[i] ?? `argument_${i}`] = found;
    });
    for (const [name, arg] of Object.entries(kwargs)) {
      const found = shapesOf(arg);
      if (found !== undefined) shapes[name] = found;
    }
    return shapes;
  }

  /** @internal Names of the arguments of `call` that hold tensors. */
  callArguments(): readonly string[] {
    return ["inputs"];
  }

  /** @internal Builds from named shapes. */
  buildWith(shapes: BuildShapes): void {
    const [first] = Object.values(shapes);
    if (first !== undefined) this.build(first);
  }

  /** @internal The outputs of a call. */
  outputs(
    args: readonly CallArgument[],
    _kwargs: Readonly<Record<string, CallArgument>>,
    shapes: Readonly<Record<string, ShapeStructure | typeof unknownShape>>,
  ): Structure<Symbolic> {
    if (this.call !== undefined) {
      const inner = this.trace(args);
      return mapStructure(inner, isSymbolic, (tensor) => new Symbolic(tensor.shape, tensor.dtype));
    }
    const [first] = Object.values(shapes);
    const dtype = this.dtypePolicy.compute;
    if (first === undefined || first === unknownShape) return new Symbolic(unknownShape, dtype);
    return mapShapes(this.computeOutputShape(first), (shape) => new Symbolic(shape, dtype));
  }

  /** @internal Runs `call` without leaving nodes behind. */
  trace(args: readonly CallArgument[]): Structure<Symbolic> {
    tracing += 1;
    try {
      return (this.call as (...values: unknown[]) => Structure<Symbolic>)(...args);
    } finally {
      tracing -= 1;
    }
  }

  /** @internal Builds as a call would: Keras 2 then opens a scope of the layer's name. */
  buildCalled(shapes: BuildShapes): void {
    if (this.wasBuilt) return;
    inScope(this.openScope(true), () => {
      this.buildWith(shapes);
    });
  }

  /** @internal The optimizer of a compiled model, with its variables made as far as they can be. */
  heldOptimizer(): Optimizer | undefined {
    return undefined;
  }

  /** @internal Calls on symbolic tensors, in order. */
  get nodes(): readonly CallNode[] {
    return this.#nodes;
  }
}

let tracing = 0;

/** Whether a value is a layer. */
export function isLayer(value: unknown): value is Layer {
  return value instanceof Layer;
}

/** A custom `build` may be called by anyone: the scope for names and the note of the shape go around it. */
function wrapBuild(layer: Layer): void {
  const build = layer.build.bind(layer);
  const wrapped = (inputShape: ShapeStructure): void => {
    layer.runBuild({ [layer.callArguments()[0] ?? "inputs"]: inputShape }, () => {
      build(inputShape);
    });
  };
  Object.defineProperty(layer, "build", { value: wrapped, enumerable: false, configurable: true });
}
