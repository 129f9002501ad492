import { parseInitializer, type InitializerSetting } from "../initializers.ts";
import type { Json, JsonObject } from "../config/json.ts";
import { loadInto, loadIntoSync, type LoadOptions, type LoadReport, type LoadSyncOptions } from "../io/load.ts";
import { saveFrom, saveFromSync, type SaveOptions, type SaveReport, type SaveSyncOptions } from "../io/save.ts";
import type { Source } from "../io/source.ts";
import type { DType, Tensor, TypedArray } from "../tensor.ts";
import { attributeValue, layersIn, trackedIn, unique, type Attribute, type AttributeValue } from "./attributes.ts";
import { parsePolicy, type DTypePolicy, type DTypeSetting } from "./dtype_policy.ts";
import { fail } from "./failure.ts";
import { defaultFlavor, type Flavor, type PerFlavor } from "./flavor.ts";
import type { ModelKind } from "./model_kind.ts";
import { ObjectName, snakeCase, type NamePrefix } from "./naming.ts";
import { currentScope, inScope, type Scope } from "./scope.ts";
import { mapShapes, unknownShape, type MaybeShape, type Shape, type ShapeStructure } from "./shape.ts";
import { flatten, isDictionary, mapStructure, type Structure } from "./structure.ts";
import { CallNode, isSymbolic, Symbolic, type CallArgument } from "./symbolic.ts";
import { structureChanged } from "./structure_version.ts";
import { describe } from "./tree.ts";
import { Variable } from "./variable.ts";
import { readWeights, weightLists, writeWeights } from "./weights.ts";

/** What every layer may be given. */
export interface LayerOptions {
  /** Keras' layer name; absent: made up from the class name, as Keras does. */
  readonly name?: string | undefined;
  /** Whether an optimizer may change the weights. */
  readonly trainable?: boolean | undefined;
  /** A dtype or a policy: `"float16"`, `"mixed_bfloat16"`. */
  readonly dtype?: DTypeSetting | undefined;
  /** Which Keras it is of; absent: that of the model that takes it in. */
  readonly flavor?: Flavor | undefined;
}

/** What a new weight is made from; see {@link Layer.addWeight}. */
export interface WeightOptions {
  /** Name inside the layer. */
  readonly name?: string;
  readonly shape?: readonly number[];
  readonly dtype?: DType;
  readonly initializer?: InitializerSetting;
  readonly trainable?: boolean;
}

/** Shapes that a layer was built with, by the names of its call arguments. */
export type BuildShapes = Readonly<Record<string, ShapeStructure>>;

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
export abstract class Layer {
  /** The Python class name: files, automatic names and configs are made from it. */
  static readonly className: string = "Layer";

  readonly #name: ObjectName;
  readonly #policy: DTypePolicy;
  readonly #own: { trainable: Variable[]; nonTrainable: Variable[] } = { trainable: [], nonTrainable: [] };
  readonly #nodes: CallNode[] = [];
  #flavor: Flavor | undefined;
  #trainable: boolean;
  #built = false;
  #scope: Scope | undefined;
  #scopeTaken = false;
  #buildShapes: BuildShapes | undefined;
  #source: JsonObject | undefined;
  #sourceFlavor: Flavor | undefined;
  /** A new flag that the parts do not have yet. What is not built yet gets its variables after the flag was set. */
  #flagToPass: { readonly trainable: boolean; readonly variables: boolean } | undefined;

  /** `name` and what automatic names begin with are for definitions; a custom layer gives `options` alone. */
  constructor(options: LayerOptions = {}, name?: ObjectName | PerFlavor<NamePrefix>) {
    const prefix = { prefix: snakeCase(new.target.className) };
    this.#name =
      name instanceof ObjectName ? name : new ObjectName(options.name, name ?? { keras2: prefix, keras3: prefix });
    this.#policy = parsePolicy(options.dtype);
    this.#trainable = options.trainable ?? true;
    this.#flavor = options.flavor;
    if (options.flavor !== undefined) this.#name.bind(options.flavor);
    structureChanged();
    wrapBuild(this);
  }

  /** The Python class name. */
  get className(): string {
    return (this.constructor as typeof Layer).className;
  }

  /** Keras' name of this layer. */
  get name(): string {
    return this.#name.in(this.#flavor);
  }

  /** Which Keras it is of: its own setting, that of its model, or `keras3`. */
  get flavor(): Flavor {
    return this.#flavor ?? defaultFlavor;
  }

  /** Whether its weights exist; they do once the input shape is known. */
  get built(): boolean {
    return this.#built;
  }

  /** Whether an optimizer may change its weights. Setting it sets all layers inside, as Keras does. */
  get trainable(): boolean {
    return this.#trainable;
  }

  set trainable(trainable: boolean) {
    structureChanged();
    this.#trainable = trainable;
    this.#flagToPass = { trainable, variables: this.#built };
    if (this.#flavor !== undefined) this.settle();
  }

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
    return loadInto(describe(this), source, options);
  }

  /** {@link loadWeights}, here and now. */
  loadWeightsSync(source: Source, options?: LoadSyncOptions): LoadReport {
    return loadIntoSync(describe(this), source, options);
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
    return saveFrom(describe(this), destination, options);
  }

  /** {@link saveWeights}, here and now. */
  saveWeightsSync(destination: string | URL, options?: SaveSyncOptions): SaveReport {
    return saveFromSync(describe(this), destination, options);
  }

  /** @internal Throws when the input shape is still unknown. */
  needBuilt(): void {
    if (this.#built) return;
    fail(
      "ERR_WEIGHTS_UNBUILT",
      `"${this.name}" has no weights yet: give an input shape, by an input layer or by build()`,
      {
        layer: this.name,
      },
    );
  }

  /** What it computes in and keeps its weights in. */
  get dtypePolicy(): DTypePolicy {
    return this.#policy;
  }

  /**
   * Makes the weights for an input shape (`null` for any length, the batch first). Custom layers override it.
   * Without an override, `call` (if there is one) is traced, which builds the layers it applies.
   */
  build(inputShape: ShapeStructure): void {
    if (this.call !== undefined) this.trace([placeholders(inputShape, this.#policy.compute)]);
  }

  /** Optional: how a custom layer applies its sub-layers, symbolically. Used to build them and to know shapes. */
  call?(inputs: Structure<Symbolic>): Structure<Symbolic>;

  /** The output's shape. Without an override: what `call` gives, or else the input's shape. */
  computeOutputShape(inputShape: ShapeStructure): ShapeStructure {
    if (this.call === undefined) return inputShape;
    const outputs = this.trace([placeholders(inputShape, this.#policy.compute)]);
    return mapStructure(outputs, isSymbolic, (tensor) => knownShape(tensor.shape, this));
  }

  /** Own properties for a config, in Keras' names; override it in layers that a config should be able to restore. */
  getConfig(): JsonObject {
    return {};
  }

  /** Makes a weight of this layer; its name comes under the layer's path. */
  addWeight(options: WeightOptions = {}): Variable {
    const trainable = options.trainable ?? true;
    const dtype = options.dtype ?? (this.#policy.variable as DType);
    const fallback = dtype.includes("float") ? "glorot_uniform" : "zeros";
    const open = currentScope();
    const variable = new Variable({
      name: options.name,
      shape: options.shape ?? [],
      dtype,
      // Keras 3 gives new variables the flag of their layer, Keras 2 their own.
      trainable: trainable && (this.#trainable || this.flavor === "keras2"),
      initializer: parseInitializer(options.initializer ?? fallback),
      scope: open?.owner === this ? open : this.#openScope(false),
      flavor: () => this.#flavor,
    });
    (trainable ? this.#own.trainable : this.#own.nonTrainable).push(variable);
    structureChanged();
    return variable;
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
    const result = inScope(this.#openScope(true), () => {
      const shapes = this.namedShapes(args, kwargs);
      if (!this.#built && Object.values(shapes).every(isKnown)) this.buildWith(shapes as BuildShapes);
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
    const dtype = this.#policy.compute;
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

  /** @internal The scope in which its weights are made. A layer keeps the place where it was first opened. */
  #openScope(called: boolean): Scope {
    const open = currentScope();
    if (open?.owner === this) return open;
    if (!this.#scopeTaken) {
      this.#scope = open;
      this.#scopeTaken = true;
    }
    return { parent: this.#scope, owner: this, keras2: called, keras3: true };
  }

  /** @internal */
  nameIn(flavor: Flavor): string {
    return this.#name.in(flavor);
  }

  /** @internal Whether its name was made up. */
  get hasAutomaticName(): boolean {
    return this.#name.isAutomatic;
  }

  /** @internal Says which Keras it is of, and all layers inside. */
  bindFlavor(flavor: Flavor): void {
    if (this.#flavor === flavor) return;
    if (this.#flavor !== undefined) {
      fail(
        "ERR_WEIGHTS_ARGUMENT",
        `the layer "${this.name}" is of ${this.#flavor} and cannot go into a ${flavor} model`,
        {
          layer: this.name,
        },
      );
    }
    this.#flavor = flavor;
    this.#name.bind(flavor);
    structureChanged();
  }

  /** @internal The flavour if somebody said it. */
  get boundFlavor(): Flavor | undefined {
    return this.#flavor;
  }

  /** @internal Does what waited for the flavour. */
  settle(): void {
    this.bindFlavor(this.flavor);
    for (const [, value] of this.attributes()) for (const layer of layersIn(value)) layer.bindFlavor(this.flavor);
    const flag = this.#flagToPass;
    if (flag === undefined) return;
    this.#flagToPass = undefined;
    if (flag.variables && this.flavor === "keras3") {
      for (const variable of this.#own.trainable) variable.trainable = flag.trainable;
    }
    for (const layer of this.trackedLayers()) layer.trainable = flag.trainable;
  }

  /** @internal Builds as a call would: Keras 2 then opens a scope of the layer's name. */
  buildCalled(shapes: BuildShapes): void {
    if (this.#built) return;
    inScope(this.#openScope(true), () => {
      this.buildWith(shapes);
    });
  }

  /** @internal Takes a variable of another layer into its own lists, as an attribute that holds one does. */
  shareVariable(variable: Variable): void {
    (variable.trainable ? this.#own.trainable : this.#own.nonTrainable).push(variable);
    structureChanged();
  }

  /** @internal Runs a build in the layer's scope and remembers its shapes. */
  runBuild(shapes: BuildShapes, body: () => void): void {
    // A subclassed model is built as Keras builds it: by a call.
    inScope(this.#openScope(this.kind === "model"), body);
    this.#buildShapes = shapes;
    this.#built = true;
    structureChanged();
  }

  /** @internal Shapes it was built with. */
  get buildShapes(): BuildShapes | undefined {
    return this.#buildShapes;
  }

  /** @internal Own variables by the list they were created into. */
  ownVariables(): { readonly trainable: readonly Variable[]; readonly nonTrainable: readonly Variable[] } {
    this.settle();
    return this.#own;
  }

  /** @internal Calls on symbolic tensors, in order. */
  get nodes(): readonly CallNode[] {
    return this.#nodes;
  }

  /** @internal Attributes that hold layers, in the order of assignment. */
  attributes(): Attribute[] {
    const result: Attribute[] = [];
    for (const [name, value] of Object.entries(this)) {
      const read = attributeValue(value, isLayer);
      if (read !== undefined) result.push([name, read]);
    }
    return result;
  }

  /** @internal Layers inside in Keras' order of tracking. */
  trackedLayers(): Layer[] {
    return unique(this.trackedValues().flatMap(layersIn));
  }

  /**
   * @internal What is tracked, in order: Keras 3 tracks the layers of lists one by one, Keras 2 the list as one object,
   * and dictionaries by sorted keys.
   */
  trackedValues(): AttributeValue[] {
    this.settle();
    return trackedIn(this.attributes(), this.flavor);
  }

  /** What it is for the layouts of files. */
  get kind(): "layer" | ModelKind {
    return layerKind;
  }

  /** @internal What `model.layers` gives; nothing for a layer that is no model. */
  listedLayers(): readonly Layer[] {
    return [];
  }

  /** @internal What conversions of old files need to know. */
  converter(): Json | undefined {
    return undefined;
  }

  /** @internal What it writes into a Keras 3 file, when that is not simply its own variables. */
  savedVariables(): readonly Variable[] | undefined {
    return undefined;
  }

  /** @internal The config entry it was made from. */
  get source(): JsonObject | undefined {
    return this.#source;
  }

  /** @internal The flavour of {@link source}. */
  get sourceFlavor(): Flavor | undefined {
    return this.#sourceFlavor;
  }

  /** @internal Keeps the config entry it was made from: what we do not know in it is written again. */
  keepSource(source: JsonObject, flavor: Flavor): void {
    this.#source = source;
    this.#sourceFlavor = flavor;
  }

  /** @internal The Python module of its class, when the class is Keras' own. */
  pythonModule(): string | undefined {
    return undefined;
  }

  /** @internal Whether its configs have no `trainable` and the dtype as a bare name. */
  writesPlainConfig(): boolean {
    return false;
  }

  /** @internal The class name in configs. */
  configName(): string {
    return this.className;
  }

  /** @internal Whether configs count its own inside as its first call. */
  countsOwnNode(): boolean {
    return false;
  }
}

const layerKind = "layer";
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

function placeholders(shape: ShapeStructure, dtype: string): Structure<Symbolic> {
  return mapShapes(shape, (leaf) => new Symbolic(leaf, dtype));
}

function shapesOf(arg: CallArgument): ShapeStructure | typeof unknownShape | undefined {
  const tensors = flatten(arg, isSymbolic);
  if (tensors.length === 0) return undefined;
  if (tensors.some((tensor) => tensor.shape === unknownShape)) return unknownShape;
  return mapStructure(arg as Structure<Symbolic>, isSymbolic, (tensor) => tensor.shape as Shape);
}

function isKnown(shape: ShapeStructure | typeof unknownShape): boolean {
  return shape !== unknownShape;
}

function knownShape(shape: MaybeShape, layer: Layer): Shape {
  if (shape !== unknownShape) return shape;
  return fail("ERR_WEIGHTS_UNKNOWN_LAYER", `the output shape of ${layer.className} "${layer.name}" is not known`, {
    layer: layer.name,
  });
}
