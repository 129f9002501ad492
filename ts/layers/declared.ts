import type { Json, JsonObject } from "../config/json.ts";
import { trackedIn, type Attribute, type AttributeValue } from "../model/attributes.ts";
import { fail } from "../model/failure.ts";
import { defaultFlavor, type Flavor } from "../model/flavor.ts";
import { Layer, type BuildShapes, type LayerOptions } from "../model/layer.ts";
import { ObjectName, snakeCase } from "../model/naming.ts";
import { currentScope, inScope, type Scope } from "../model/scope.ts";
import { isShape, mapShapes, unknownShape, type Shape, type ShapeStructure } from "../model/shape.ts";
import { flatten, type Structure } from "../model/structure.ts";
import { isSymbolic, Symbolic, type CallArgument } from "../model/symbolic.ts";
import type { Variable } from "../model/variable.ts";
import type { DType } from "../tensor.ts";
import {
  customDefinitions,
  type LayerContext,
  type LayerDefinition,
  type Part,
  type ShapeContext,
  type WeightSpec,
} from "./definition.ts";
import { MergedVariable } from "./low_rank.ts";
import { inputShapeFor } from "./shape_from_weights.ts";
import { lowRankWeights, savedAttributes, type KernelSpec } from "./quantization.ts";
import { toSnake, type ConfigOf, type FieldReader, type Fields, type FieldWriter, type OptionsOf } from "./fields.ts";

/** Options that every declared layer takes besides its own. */
export interface CommonOptions extends LayerOptions {
  /** Input shape without the batch, for the first layer of a Sequential model. */
  readonly inputShape?: Shape | undefined;
  /** Input shape with the batch. */
  readonly batchInputShape?: Shape | undefined;
  /** Passes through to configs. */
  readonly activityRegularizer?: Json | undefined;
}

const commonKeys = new Set([
  "name",
  "trainable",
  "dtype",
  "flavor",
  "inputShape",
  "batchInputShape",
  "activityRegularizer",
]);

/** A layer whose class is declared in the table. All it knows of its class it asks the definition. */
export class DeclaredLayer<F extends Fields = Fields> extends Layer {
  static override readonly className: string = "Layer";

  readonly #definition: LayerDefinition<F>;
  #config: ConfigOf<F>;
  readonly #common: CommonOptions;
  #parts: readonly Part<F>[] | undefined;
  #builtParts: readonly Part<F>[] = [];
  /** A build whose weights wait for the flavour. */
  #waiting: { readonly shapes: BuildShapes; readonly scope: Scope | undefined } | undefined;
  #innerNames: readonly ObjectName[];
  #shapesAreGuessed = false;
  /** Where its weights were made. */
  #scope: Scope | undefined;
  readonly #byAttribute = new Map<string, Variable>();
  readonly #mergedParts = new Map<string, Variable>();

  constructor(definition: LayerDefinition<F>, config: ConfigOf<F>, common: CommonOptions = {}, name?: ObjectName) {
    const prefix = { prefix: snakeCase(definition.className) };
    const { trainable = definition.trainable, flavor = defaultFlavor } = common;
    const dtype = common.dtype ?? definition.dtype?.(config, flavor);
    super({ ...common, trainable, dtype }, name ?? definition.namePrefix ?? { keras2: prefix, keras3: prefix });
    this.#definition = definition;
    this.#config = config;
    this.#common = common;
    this.#innerNames = (definition.innerNames ?? []).map(automaticName);
  }

  override get className(): string {
    return this.#definition.className;
  }

  override get built(): boolean {
    return super.built || (this.#definition.builtAtOnce === true && this.flavor === "keras3");
  }

  /** What the table says of its class. */
  get definition(): LayerDefinition<F> {
    return this.#definition;
  }

  /** Its config entries, by Keras' names. */
  get config(): ConfigOf<F> {
    return this.#config;
  }

  /** The input shape that its config carries, as old configs do for the first layer of a Sequential model. */
  get batchInputShape(): Shape | undefined {
    const { batchInputShape, inputShape = this.#definition.inputShape?.(this.#config, this.flavor) } = this.#common;
    return batchInputShape ?? (inputShape && [null, ...inputShape]);
  }

  override build(inputShape: ShapeStructure): void {
    this.#plan({ [this.callArguments()[0] ?? "inputs"]: inputShape });
  }

  /** @internal */
  override buildWith(shapes: BuildShapes): void {
    if (super.built) return;
    this.runBuild(shapes, () => {
      this.#plan(shapes);
    });
  }

  override computeOutputShape(inputShape: ShapeStructure): ShapeStructure {
    return this.outputShapeFor({ [this.callArguments()[0] ?? "inputs"]: inputShape });
  }

  /** @internal */
  outputShapeFor(shapes: BuildShapes, keywords: Readonly<Record<string, unknown>> = {}): ShapeStructure {
    const context = this.#shapeContext(shapes, keywords);
    return this.#definition.outputShape?.(context) ?? context.input;
  }

  /** @internal */
  override buildForWeights(weights: readonly (readonly number[])[]): boolean {
    const input = inputShapeFor(this, weights) ?? this.#sequenceFor(weights);
    if (input === undefined) return false;
    const shapes = { [this.callArguments()[0] ?? "inputs"]: input };
    this.#shapesAreGuessed = true;
    this.runBuild(shapes, () => {
      this.#plan(shapes);
    });
    return true;
  }

  /** Recurrent layers leave their weights to a cell, whose kernel comes first and takes the features of each step. */
  #sequenceFor([kernel]: readonly (readonly number[])[]): Shape | undefined {
    const recurrent = /^(?:CuDNN)?(?:GRU|LSTM)$|^SimpleRNN$|^Bidirectional$/u.test(this.className);
    const [features] = kernel ?? [];
    return recurrent && kernel?.length === 2 && features !== undefined ? [null, null, features] : undefined;
  }

  /** @internal Guessed shapes are right for its weights and for nothing else. */
  override get writtenShapes(): BuildShapes | undefined {
    return this.#shapesAreGuessed ? undefined : super.writtenShapes;
  }

  /** @internal Shapes of the own weights that it would have for an input, in Keras' order. */
  weightShapes(input: Shape): readonly (readonly number[])[] {
    const specs = this.#definition.variables?.(this.#shapeContext({ inputs: input })) ?? [];
    const own = specs.filter((spec) => spec !== false && !("shared" in spec)) as readonly WeightSpec[];
    const trained = own.filter(({ trainable = true }) => trainable);
    return [...trained, ...own.filter((spec) => !trained.includes(spec))].map(({ shape }) => shape);
  }

  /** @internal */
  override callArguments(): readonly string[] {
    return this.#definition.callArguments ?? ["inputs"];
  }

  /** @internal */
  override outputs(
    args: readonly CallArgument[],
    kwargs: Readonly<Record<string, CallArgument>>,
    shapes: Readonly<Record<string, ShapeStructure | typeof unknownShape>>,
  ): Structure<Symbolic> {
    const inputs = flatten(args, isSymbolic).map((tensor) => tensor.dtype);
    const dtype = this.#definition.outputDtype?.(this.#context(), inputs) ?? this.dtypePolicy.compute;
    if (Object.values(shapes).some((shape) => shape === unknownShape)) return new Symbolic(unknownShape, dtype);
    return mapShapes(this.outputShapeFor(shapes as BuildShapes, kwargs), (shape) => new Symbolic(shape, dtype));
  }

  /** @internal */
  override settle(): void {
    this.bindFlavor(this.flavor);
    this.#parts ??= this.#definition.parts?.(this.#context()) ?? [];
    for (const { value } of this.#parts) for (const layer of [value].flat()) layer.bindFlavor(this.flavor);
    if (this.#waiting !== undefined) this.#makeWeights(this.#waiting.shapes, this.#waiting.scope);
    super.settle();
  }

  /** @internal */
  override attributes(): Attribute[] {
    return this.#allParts().flatMap(({ attr, aliases = [], value }) => {
      return [attr, ...aliases].map((name) => [name, held(value)] as const);
    });
  }

  /** @internal */
  override trackedValues(): AttributeValue[] {
    this.settle();
    const parts = this.#allParts().filter(({ tracked = true }) => tracked);
    return trackedIn(
      parts.map(({ attr, value }) => [attr, held(value)] as const),
      this.flavor,
    );
  }

  /** @internal What conversions of old files need to know. */
  override converter(): Json | undefined {
    return this.flavor === "keras2" ? this.#definition.converter?.(this.#context()) : undefined;
  }

  override getConfig(): JsonObject {
    return this.writeConfig({
      flavor: this.flavor,
      layer: (layer) => ({ class_name: layer.className, config: layer.getConfig() }),
    });
  }

  /** @internal */
  override pythonModule(): string | undefined {
    return customDefinitions.has(this.#definition) ? undefined : "keras.layers";
  }

  /** @internal */
  override writesPlainConfig(): boolean {
    return this.#definition.plainConfig === this.flavor;
  }

  /** @internal */
  override writesNameOnly(): boolean {
    return this.#definition.nameOnly === true;
  }

  /** @internal */
  override configName(): string {
    return this.#definition.configName ?? this.className;
  }

  /** @internal The entries of its own class as Keras writes them. */
  writeConfig(writer: FieldWriter): JsonObject {
    this.settle();
    const entries: Record<string, Json> = {};
    for (const [key, field] of Object.entries(this.#definition.config)) {
      if (field.only !== undefined && field.only !== writer.flavor) continue;
      const value = field.write(this.#config[key], writer);
      if (value !== null || field.omitNull !== writer.flavor) entries[key] = value;
    }
    const shape = writer.flavor === "keras2" ? this.batchInputShape : undefined;
    if (shape !== undefined) entries["batch_input_shape"] = [...shape];
    const regularizer = this.#common.activityRegularizer;
    if (regularizer !== undefined && regularizer !== null) entries["activity_regularizer"] ??= regularizer;
    if (this.#definition.written === undefined) return entries;
    const parts = this.#allParts().flatMap(({ attr, value }) =>
      value instanceof Layer ? [[attr, value] as const] : [],
    );
    return this.#definition.written(entries, new Map(parts), writer);
  }

  #allParts(): readonly Part<F>[] {
    const all = [...(this.#parts ?? []), ...this.#builtParts];
    return all.filter(({ only }) => only === undefined || only === this.flavor);
  }

  #context(): LayerContext<F> {
    const name = (): string => this.name;
    return {
      config: this.#config,
      flavor: this.flavor,
      policy: this.dtypePolicy,
      innerNames: this.#innerNames,
      get name() {
        return name();
      },
    };
  }

  #shapeContext(shapes: BuildShapes, keywords: Readonly<Record<string, unknown>> = {}): ShapeContext<F> {
    const inputs = flatten(Object.values(shapes)[0] ?? [], isShape);
    const context = this.#context();
    return {
      config: context.config,
      flavor: context.flavor,
      policy: context.policy,
      get name() {
        return context.name;
      },
      shapes,
      keywords,
      inputs,
      input: inputs[0] ?? [],
      innerNames: this.#innerNames,
    };
  }

  #plan(shapes: BuildShapes): void {
    const definition = this.#definition;
    if (definition.builtInnerNames !== undefined) {
      this.#innerNames = definition.builtInnerNames.map(automaticName);
      for (const name of this.#innerNames) name.bind("keras3");
    }
    // Asked once already so that a wrong shape is an error of this call and not of a later one.
    definition.variables?.(this.#shapeContext(shapes));
    this.#waiting = { shapes, scope: currentScope() };
    if (this.boundFlavor !== undefined) this.settle();
  }

  #makeWeights(shapes: BuildShapes, scope: Scope | undefined): void {
    this.#waiting = undefined;
    this.#scope = scope;
    const definition = this.#definition;
    const context = this.#shapeContext(shapes);
    inScope(scope, () => {
      for (const part of this.#parts ?? []) part.build?.(context);
      for (const spec of definition.variables?.(context) ?? []) {
        if (spec === false) continue;
        if ("shared" in spec) {
          this.shareVariable(spec.shared);
          continue;
        }
        this.#addWeight(spec);
      }
      this.#builtParts = definition.builtParts?.(context) ?? [];
      for (const part of this.#builtParts) {
        for (const layer of [part.value].flat()) layer.bindFlavor(this.flavor);
        part.build?.(context);
      }
    });
  }

  #addWeight(spec: WeightSpec): void {
    const { attr, name = attr, shape, initializer, trainable = true, frozen = false } = spec;
    const dtype = spec.dtype ?? (this.dtypePolicy.variable as DType);
    const variable = this.addWeight({ name, shape, initializer, trainable, dtype });
    if (frozen) variable.trainable = false;
    this.#byAttribute.set(attr, variable);
  }

  /**
   * Gives the kernel a low-rank update (LoRA) of a rank, as Keras' `enable_lora`: the kernel is frozen, and two small
   * matrices take its place in training. Files hold the kernel with the update merged in.
   *
   * ```ts
   * layer.enableLora(4);
   * ```
   *
   * @throws ERR_WEIGHTS_UNSUPPORTED where the class has no such kernel, ERR_WEIGHTS_UNBUILT before the input shape is known.
   */
  enableLora(rank: number, options: { readonly alpha?: number } = {}): void {
    const kernel = this.#kernel;
    if (this.#definition.kernel === undefined) {
      fail("ERR_WEIGHTS_UNSUPPORTED", `${this.className} has no kernel for a low-rank update`, { layer: this.name });
    }
    this.needBuilt();
    this.settle();
    const spec = kernel();
    const variable = this.#byAttribute.get(spec.attr);
    if (variable === undefined || this.#byAttribute.has(`lora_${spec.attr}_a`)) {
      fail("ERR_WEIGHTS_ARGUMENT", `the layer "${this.name}" has a low-rank update already`, { layer: this.name });
    }
    inScope(this.#scope, () => {
      for (const weight of lowRankWeights(spec, rank)) this.#addWeight(weight);
    });
    variable.trainable = false;
    this.#config = { ...this.#config, lora_rank: rank, lora_alpha: options.alpha ?? rank };
  }

  /** @internal */
  override savedVariables(): readonly Variable[] | undefined {
    if (this.#definition.kernel === undefined || this.flavor !== "keras3" || this.#byAttribute.size === 0)
      return undefined;
    const { attr } = this.#kernel();
    const saved = savedAttributes(this.dtypePolicy, attr).flatMap(
      (name) => this.#merged(name, attr) ?? this.#byAttribute.get(name) ?? [],
    );
    const { trainable, nonTrainable } = this.ownVariables();
    const own = [...trainable, ...nonTrainable];
    return own.length === saved.length && own.every((variable, i) => variable === saved[i]) ? undefined : saved;
  }

  readonly #kernel = (): KernelSpec => {
    const spec = this.#definition.kernel?.(this.#shapeContext(this.buildShapes ?? {}));
    return spec ?? fail("ERR_WEIGHTS_INTERNAL", `${this.className} has no kernel`);
  };

  /** The value for files of a kernel with a low-rank update, and of its int8 scale. */
  #merged(name: string, attr: string): Variable | undefined {
    const [kernel, a, b] = [attr, `lora_${attr}_a`, `lora_${attr}_b`].map((key) => this.#byAttribute.get(key));
    if (kernel === undefined || a === undefined || b === undefined) return undefined;
    const mode = this.dtypePolicy.quantization;
    const part = name === attr ? "kernel" : name === `${attr}_scale` && mode === "int8" ? "scale" : undefined;
    const standsFor = this.#byAttribute.get(name);
    if (part === undefined || standsFor === undefined) return undefined;
    const known = this.#mergedParts.get(name);
    if (known !== undefined) return known;
    const { lora_rank: rank, lora_alpha: alpha } = this.#config as Readonly<Record<string, unknown>>;
    const factor = typeof rank === "number" ? (typeof alpha === "number" ? alpha : rank) / rank : 1;
    const scale = this.#byAttribute.get(`${attr}_scale`);
    const made = new MergedVariable({ spec: this.#kernel(), mode, kernel, scale, a, b, factor }, standsFor, part);
    this.#mergedParts.set(name, made);
    return made;
  }
}

function held(value: Layer | readonly Layer[]): AttributeValue {
  return value instanceof Layer ? { layer: value } : { list: value.map((layer) => ({ layer })) };
}

function automaticName(className: string): ObjectName {
  const prefix = { prefix: snakeCase(className) };
  return new ObjectName(undefined, { keras2: prefix, keras3: prefix });
}

/** Reads config entries: of JSON by Keras' names, or of options whose names were changed to Keras'. */
export function readConfig<F extends Fields>(
  definition: LayerDefinition<F>,
  entries: Readonly<Record<string, unknown>>,
  reader: FieldReader,
): ConfigOf<F> {
  const config: Record<string, unknown> = {};
  for (const [key, field] of Object.entries(definition.config)) {
    const value = entries[key];
    const fallback = field.fallbackIn?.[reader.flavor ?? defaultFlavor] ?? field.fallback;
    if (value !== undefined) config[key] = field.read(value as Json, reader, `${definition.className}'s ${key}`);
    else if (fallback !== undefined) config[key] = fallback;
    else if (field.only === undefined || reader.flavor === undefined || field.only === reader.flavor) {
      fail("ERR_WEIGHTS_CONFIG", `${definition.className} needs ${key}`);
    }
  }
  const read = config as ConfigOf<F>;
  return definition.complete?.(read, reader.flavor) ?? read;
}

const optionReader = (flavor: Flavor | undefined): FieldReader => ({
  flavor,
  layer: () => fail("ERR_WEIGHTS_ARGUMENT", "a layer must be given here, not a config"),
});

/** Makes a layer of a declared class from options in camel case. */
export function make<F extends Fields>(
  definition: LayerDefinition<F>,
  options: OptionsOf<F> & CommonOptions,
  name?: ObjectName,
): DeclaredLayer<F> {
  const entries: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options)) {
    const snake = toSnake(key);
    if (Object.hasOwn(definition.config, snake)) entries[snake] = value;
    else if (!commonKeys.has(key)) {
      fail("ERR_WEIGHTS_ARGUMENT", `${definition.className} has no option "${key}"`, { layer: options.name });
    }
  }
  const config = readConfig(definition, entries, optionReader(options.flavor));
  return new DeclaredLayer(definition, config, options, name);
}

/** A new layer of the same class and config, as Keras makes by writing a config and reading it; nothing is shared. */
export function cloneLayer(layer: Layer, name: string, changes: Readonly<Record<string, unknown>> = {}): Layer {
  if (!(layer instanceof DeclaredLayer)) {
    return fail(
      "ERR_WEIGHTS_ARGUMENT",
      `a layer of the class ${layer.className} cannot be copied: only declared classes can`,
      {
        layer: layer.name,
      },
    );
  }
  const copy = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(copy);
    return value instanceof Layer ? cloneLayer(value, value.name) : value;
  };
  const config = Object.fromEntries(
    Object.entries({ ...layer.config, ...changes }).map(([key, value]) => [key, copy(value)]),
  );
  const { trainable, boundFlavor, dtypePolicy } = layer;
  const dtype = dtypePolicy.source ?? dtypePolicy.name;
  return new DeclaredLayer(layer.definition, config, { name, trainable, dtype, flavor: boundFlavor });
}

/** Makes a sub-layer of a layer: of its flavour and dtype, under a given name or an automatic one. */
export function makePart<F extends Fields>(
  definition: LayerDefinition<F>,
  context: Pick<LayerContext<Fields>, "flavor" | "policy">,
  name: string | ObjectName | undefined,
  options: OptionsOf<F>,
): DeclaredLayer<F> {
  const { flavor, policy } = context;
  const common = { dtype: policy.source ?? policy.name, flavor, ...(typeof name === "string" && { name }) };
  return make(definition, { ...options, ...common }, name instanceof ObjectName ? name : undefined);
}
