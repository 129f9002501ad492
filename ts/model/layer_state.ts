import { parseInitializer, type InitializerSetting } from "../initializers.ts";
import type { Json, JsonObject } from "../config/json.ts";
import type { DType } from "../tensor.ts";
import { attributeValue, layersIn, trackedIn, unique, type Attribute, type AttributeValue } from "./attributes.ts";
import { parsePolicy, type DTypePolicy, type DTypeSetting } from "./dtype_policy.ts";
import { fail } from "./failure.ts";
import { defaultFlavor, type Flavor, type PerFlavor } from "./flavor.ts";
import type { Layer } from "./layer.ts";
import type { ModelKind } from "./model_kind.ts";
import { ObjectName, snakeCase, type NamePrefix } from "./naming.ts";
import { currentScope, inScope, type Scope } from "./scope.ts";
import type { ShapeStructure } from "./shape.ts";
import { structureChanged } from "./structure_version.ts";
import type { Adopted } from "./unknown.ts";
import { Variable } from "./variable.ts";

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
 * What a layer is apart from calls: its name, flags, own weights, and the layers inside it in the orders of Keras.
 * Users extend `Layer`; this is its lower half.
 */
export abstract class LayerState {
  readonly #name: ObjectName;

  readonly #policy: DTypePolicy;

  #own: { trainable: Variable[]; nonTrainable: Variable[] } = { trainable: [], nonTrainable: [] };

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
    const prefix = { prefix: snakeCase((new.target as unknown as { readonly className: string }).className) };
    this.#name =
      name instanceof ObjectName ? name : new ObjectName(options.name, name ?? { keras2: prefix, keras3: prefix });
    this.#policy = parsePolicy(options.dtype);
    this.#trainable = options.trainable ?? true;
    this.#flavor = options.flavor;
    if (options.flavor !== undefined) this.#name.bind(options.flavor);
    structureChanged();
  }

  /** The Python class name. */
  get className(): string {
    return (this.constructor as unknown as { readonly className: string }).className;
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
      scope: open?.owner === this ? open : this.openScope(false),
      flavor: () => this.#flavor,
    });
    (trainable ? this.#own.trainable : this.#own.nonTrainable).push(variable);
    structureChanged();
    return variable;
  }

  /** @internal The scope in which its weights are made. A layer keeps the place where it was first opened. */
  openScope(called: boolean): Scope {
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

  /** @internal Takes a variable of another layer into its own lists, as an attribute that holds one does. */
  shareVariable(variable: Variable): void {
    (variable.trainable ? this.#own.trainable : this.#own.nonTrainable).push(variable);
    structureChanged();
  }

  /** @internal Runs a build in the layer's scope and remembers its shapes. */
  runBuild(shapes: BuildShapes, body: () => void): void {
    // A subclassed model is built as Keras builds it: by a call.
    inScope(this.openScope(this.kind === "model"), body);
    this.#buildShapes = shapes;
    this.#built = true;
    structureChanged();
  }

  /** @internal Undoes a build. */
  protected dropBuild(): void {
    this.#own = { trainable: [], nonTrainable: [] };
    this.#buildShapes = undefined;
    this.#built = false;
    structureChanged();
  }

  /** @internal Shapes it was built with. */
  get buildShapes(): BuildShapes | undefined {
    return this.#buildShapes;
  }

  /** @internal The same, for configs. */
  get writtenShapes(): BuildShapes | undefined {
    return this.#buildShapes;
  }

  /** @internal Own variables by the list they were created into. */
  ownVariables(): { readonly trainable: readonly Variable[]; readonly nonTrainable: readonly Variable[] } {
    this.settle();
    return this.#own;
  }

  /** @internal Attributes that hold layers, in the order of assignment. */
  attributes(): Attribute[] {
    const result: Attribute[] = [];
    for (const [name, value] of Object.entries(this)) {
      const read = attributeValue(value, isLayerState);
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

  /** @internal Whether its configs have its name, and neither `trainable` nor a dtype. */
  writesNameOnly(): boolean {
    return false;
  }

  /** @internal Whether a build ran, whatever {@link built} says of layers that need none. */
  get wasBuilt(): boolean {
    return this.#built;
  }

  /** @internal The class name in configs. */
  configName(): string {
    return this.className;
  }

  /** @internal Whether its class is unknown and nobody told its weights yet. */
  lacksWeights(): boolean {
    return false;
  }

  /** @internal Takes over weights that a file has for a layer of an unknown class. */
  adopt?(found: Adopted): void;

  /** @internal Forgets what {@link adopt} took over. */
  forget?(): void;

  /** @internal Builds for an input shape under which it has weights of these shapes; false when there is none. */
  buildForWeights?(weights: readonly (readonly number[])[]): boolean;

  /** @internal Which kind of file told the weights of a layer of an unknown class. */
  get adoptedLayout(): Adopted["layout"] | undefined {
    return undefined;
  }

  /** @internal Whether Keras counts it as a bare operation, which is part of a graph but no layer. */
  isOperation(): boolean {
    return false;
  }

  /** @internal Whether configs count its own inside as its first call. */
  countsOwnNode(): boolean {
    return false;
  }
}

const layerKind = "layer";

function isLayerState(value: unknown): value is Layer {
  return value instanceof LayerState;
}
