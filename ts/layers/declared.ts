import type { Json, JsonObject } from "../config/json.ts";
import { trackedIn, type Attribute, type AttributeValue } from "../model/attributes.ts";
import type { DTypeSetting } from "../model/dtype_policy.ts";
import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import { Layer, type BuildShapes, type LayerOptions } from "../model/layer.ts";
import { ObjectName, snakeCase } from "../model/naming.ts";
import { currentScope, inScope, type Scope } from "../model/scope.ts";
import { isShape, mapShapes, unknownShape, type Shape, type ShapeStructure } from "../model/shape.ts";
import { flatten, type Structure } from "../model/structure.ts";
import { isSymbolic, Symbolic, type CallArgument } from "../model/symbolic.ts";
import type { DType } from "../tensor.ts";
import {
  customDefinitions,
  type LayerContext,
  type LayerDefinition,
  type Part,
  type ShapeContext,
} from "./definition.ts";
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
  readonly #config: ConfigOf<F>;
  readonly #common: CommonOptions;
  #parts: readonly Part<F>[] | undefined;
  #builtParts: readonly Part<F>[] = [];
  /** A build whose weights wait for the flavour. */
  #waiting: { readonly shapes: BuildShapes; readonly scope: Scope | undefined } | undefined;
  #innerNames: readonly ObjectName[] = [];

  constructor(definition: LayerDefinition<F>, config: ConfigOf<F>, common: CommonOptions = {}, name?: ObjectName) {
    const prefix = { prefix: snakeCase(definition.className) };
    super(common, name ?? definition.namePrefix ?? { keras2: prefix, keras3: prefix });
    this.#definition = definition;
    this.#config = config;
    this.#common = common;
  }

  override get className(): string {
    return this.#definition.className;
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
    const { batchInputShape, inputShape } = this.#common;
    return batchInputShape ?? (inputShape && [null, ...inputShape]);
  }

  override build(inputShape: ShapeStructure): void {
    this.#plan({ [this.callArguments()[0] ?? "inputs"]: inputShape });
  }

  /** @internal */
  override buildWith(shapes: BuildShapes): void {
    if (this.built) return;
    this.runBuild(shapes, () => {
      this.#plan(shapes);
    });
  }

  override computeOutputShape(inputShape: ShapeStructure): ShapeStructure {
    return this.outputShapeFor({ [this.callArguments()[0] ?? "inputs"]: inputShape });
  }

  /** @internal */
  outputShapeFor(shapes: BuildShapes): ShapeStructure {
    const context = this.#shapeContext(shapes);
    return this.#definition.outputShape?.(context) ?? context.input;
  }

  /** @internal */
  override callArguments(): readonly string[] {
    return this.#definition.callArguments ?? ["inputs"];
  }

  /** @internal */
  override outputs(
    args: readonly CallArgument[],
    _kwargs: Readonly<Record<string, CallArgument>>,
    shapes: Readonly<Record<string, ShapeStructure | typeof unknownShape>>,
  ): Structure<Symbolic> {
    const inputs = flatten(args, isSymbolic).map((tensor) => tensor.dtype);
    const dtype = this.#definition.outputDtype?.(this.#context(), inputs) ?? this.dtypePolicy.compute;
    if (Object.values(shapes).some((shape) => shape === unknownShape)) return new Symbolic(unknownShape, dtype);
    return mapShapes(this.outputShapeFor(shapes as BuildShapes), (shape) => new Symbolic(shape, dtype));
  }

  /** @internal */
  override settle(): void {
    this.bindFlavor(this.flavor);
    this.#parts ??= this.#definition.parts?.(this.#context()) ?? [];
    if (this.#waiting !== undefined) this.#makeWeights(this.#waiting.shapes, this.#waiting.scope);
    super.settle();
  }

  /** @internal */
  override attributes(): Attribute[] {
    return [...(this.#parts ?? []), ...this.#builtParts].flatMap(({ attr, aliases = [], value }) => {
      return [attr, ...aliases].map((name) => [name, held(value)] as const);
    });
  }

  /** @internal */
  override trackedValues(): AttributeValue[] {
    this.settle();
    const parts = [...(this.#parts ?? []), ...this.#builtParts].filter(({ tracked = true }) => tracked);
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

  /** @internal The entries of its own class as Keras writes them. */
  writeConfig(writer: FieldWriter): JsonObject {
    const entries: Record<string, Json> = {};
    for (const [key, field] of Object.entries(this.#definition.config)) {
      if (field.only !== undefined && field.only !== writer.flavor) continue;
      const value = field.write(this.#config[key], writer);
      if (value !== null || field.omitNull !== writer.flavor) entries[key] = value;
    }
    const regularizer = this.#common.activityRegularizer;
    if (regularizer !== undefined && regularizer !== null) entries["activity_regularizer"] ??= regularizer;
    return entries;
  }

  #context(): LayerContext<F> {
    const name = (): string => this.name;
    return {
      config: this.#config,
      flavor: this.flavor,
      policy: this.dtypePolicy,
      get name() {
        return name();
      },
    };
  }

  #shapeContext(shapes: BuildShapes): ShapeContext<F> {
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
      inputs,
      input: inputs[0] ?? [],
      innerNames: this.#innerNames,
    };
  }

  #plan(shapes: BuildShapes): void {
    const definition = this.#definition;
    const { innerNames = [] } = definition;
    this.#innerNames = innerNames.map((className) => {
      const prefix = { prefix: snakeCase(className) };
      const name = new ObjectName(undefined, { keras2: prefix, keras3: prefix });
      name.bind("keras3");
      return name;
    });
    // Asked once already so that a wrong shape is an error of this call and not of a later one.
    definition.variables?.(this.#shapeContext(shapes));
    this.#waiting = { shapes, scope: currentScope() };
    if (this.boundFlavor !== undefined) this.settle();
  }

  #makeWeights(shapes: BuildShapes, scope: Scope | undefined): void {
    this.#waiting = undefined;
    const definition = this.#definition;
    const context = this.#shapeContext(shapes);
    inScope(scope, () => {
      for (const part of this.#parts ?? []) part.build?.(context);
      for (const spec of definition.variables?.(context) ?? []) {
        if (spec === false) continue;
        const { attr, name = attr, shape, initializer, trainable = true } = spec;
        this.addWeight({
          name,
          shape,
          initializer,
          trainable,
          dtype: spec.dtype ?? (this.dtypePolicy.variable as DType),
        });
      }
      this.#builtParts = definition.builtParts?.(context) ?? [];
      for (const part of this.#builtParts) {
        for (const layer of [part.value].flat()) layer.bindFlavor(this.flavor);
        part.build?.(context);
      }
    });
  }
}

function held(value: Layer | readonly Layer[]): AttributeValue {
  return value instanceof Layer ? { layer: value } : { list: value.map((layer) => ({ layer })) };
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
    if (value !== undefined) config[key] = field.read(value as Json, reader, `${definition.className}'s ${key}`);
    else if (field.fallback !== undefined) config[key] = field.fallback;
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

/** Makes a sub-layer of a layer: bound to its flavour, with a dtype of its own or that of the layer around. */
export function makePart<F extends Fields>(
  definition: LayerDefinition<F>,
  context: Pick<LayerContext<Fields>, "flavor" | "policy">,
  options: OptionsOf<F> & {
    readonly name?: string | ObjectName;
    readonly dtype?: DTypeSetting;
    readonly trainable?: boolean;
  },
): DeclaredLayer<F> {
  const { name, ...rest } = options;
  const common = { dtype: context.policy.source ?? context.policy.name, ...rest, flavor: context.flavor };
  const named = typeof name === "string" ? { ...common, name } : common;
  return make(
    definition,
    named as unknown as OptionsOf<F> & CommonOptions,
    name instanceof ObjectName ? name : undefined,
  );
}
