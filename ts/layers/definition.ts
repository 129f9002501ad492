import type { Json, JsonObject } from "../config/json.ts";
import type { Initializer } from "../initializers.ts";
import type { DTypePolicy } from "../model/dtype_policy.ts";
import type { Flavor, PerFlavor } from "../model/flavor.ts";
import type { Layer } from "../model/layer.ts";
import type { NamePrefix, ObjectName } from "../model/naming.ts";
import type { Variable } from "../model/variable.ts";
import type { Shape, ShapeStructure } from "../model/shape.ts";
import type { DType } from "../tensor.ts";
import type { KernelSpec } from "./quantization.ts";
import type { ConfigOf, Fields, FieldWriter } from "./fields.ts";

/** What every part of a definition is told. */
export interface LayerContext<F extends Fields> {
  readonly config: ConfigOf<F>;
  readonly flavor: Flavor;
  readonly policy: DTypePolicy;
  /** Names for the classes of `innerNames`, and once the input shape is known of `builtInnerNames`. */
  readonly innerNames: readonly ObjectName[];
  /** The layer's name; asking for it gives an automatic name its number. */
  readonly name: string;
}

/** What is known once the input shape is. */
export interface ShapeContext<F extends Fields> extends LayerContext<F> {
  /** Shape of the first tensor. */
  readonly input: Shape;
  /** Shapes of all tensors of the first argument, in Keras' order. */
  readonly inputs: readonly Shape[];
  /** Shapes by the names of the call's arguments. */
  readonly shapes: Readonly<Record<string, ShapeStructure>>;
  /** Constants of the call by name (`return_attention_scores`). */
  readonly keywords: Readonly<Record<string, unknown>>;
}

/** One weight of a layer. */
export interface WeightSpec {
  /** The attribute that holds it, and its name unless `name` says another. */
  readonly attr: string;
  readonly name?: string;
  readonly shape: readonly number[];
  readonly initializer: Initializer;
  /** Absent: the policy's variable dtype. */
  readonly dtype?: DType | undefined;
  /** Absent: true. */
  readonly trainable?: boolean | undefined;
  /** Whether it is listed as trainable but may not change: a kernel with low-rank updates. */
  readonly frozen?: boolean | undefined;
}

/** A weight of a sub-layer that this layer lists as its own too, as Keras does when an attribute holds it. */
export interface SharedWeight {
  readonly shared: Variable;
}

/** A sub-layer of a layer, or a list of them. */
export interface Part<F extends Fields = Fields> {
  /** The attribute that holds it. */
  readonly attr: string;
  readonly value: Layer | readonly Layer[];
  /** More names under which Keras' walk reaches it: public properties. */
  readonly aliases?: readonly string[];
  /** Whether it counts as a sub-layer; false for a mere reference. */
  readonly tracked?: boolean;
  /** The only flavour whose walk reaches it; absent: both. */
  readonly only?: Flavor;
  /** How it is built when this layer is; absent: not at all. */
  build?(context: ShapeContext<F>): void;
}

/**
 * All there is to know of a layer class: its config, its weights and its output shape, as data and pure functions.
 * A new class is a new definition; see {@link defineLayer} and `registerLayer`.
 */
export interface LayerDefinition<F extends Fields = Fields> {
  /** The Python class name. */
  readonly className: string;
  /** Other names under which configs name the class. */
  readonly aliases?: readonly string[];
  /** The name under which configs write the class, when it is exported under another; absent: the class name. */
  readonly configName?: string;
  /** The flavours that have the class; absent: both. */
  readonly flavors?: readonly Flavor[];
  /** Config entries, by Keras' names. */
  readonly config: F;
  /** Entries that the factory takes by position, as Keras' constructor. */
  readonly args?: readonly (keyof F & string)[];
  /** Names of the call's arguments that hold tensors; absent: one, `inputs`. */
  readonly callArguments?: readonly string[];
  /** What automatic names begin with; absent: the class name in snake case. */
  readonly namePrefix?: PerFlavor<NamePrefix>;
  /** The dtype when nobody says; absent or undefined: float32. */
  dtype?(config: ConfigOf<F>, flavor: Flavor): string | undefined;
  /** The input shape, without the batch, that the config itself tells. */
  inputShape?(config: ConfigOf<F>, flavor: Flavor): Shape | undefined;
  /** The flavour whose configs of the class have no `trainable` and the dtype as a bare name. */
  readonly plainConfig?: Flavor;
  /** Whether its configs say the name and its own entries, and nothing else that layers have. */
  readonly nameOnly?: true;
  /** Whether Keras 3 counts it as built as soon as it is made. */
  readonly builtAtOnce?: boolean;
  /** What `trainable` is when nobody says; absent: true. */
  readonly trainable?: boolean;
  /** Classes of `parts` with automatic names, in the order in which Keras makes them. */
  readonly innerNames?: readonly string[];
  /** The same for `builtParts`; Keras 2 counts such names from the start again, Keras 3 goes on. */
  readonly builtInnerNames?: readonly string[];
  /** Checks or completes the config as a whole. */
  complete?(config: ConfigOf<F>, flavor: Flavor | undefined): ConfigOf<F>;
  /** The weights, in Keras' order of creation. */
  variables?(context: ShapeContext<F>): readonly (WeightSpec | SharedWeight | false)[];
  /** Sub-layers that exist from the start. */
  parts?(context: LayerContext<F>): readonly Part<F>[];
  /** Sub-layers that building makes. */
  builtParts?(context: ShapeContext<F>): readonly Part<F>[];
  /** The kernel that Keras can quantize and give low-rank updates. */
  kernel?(context: ShapeContext<F>): KernelSpec;
  /** The output's shape; absent: the input's. */
  outputShape?(context: ShapeContext<F>): ShapeStructure;
  /** The output's dtype; absent: the policy's compute dtype. */
  outputDtype?(context: LayerContext<F>, inputs: readonly string[]): string;
  /** Changes the entries that are written into a config: for classes that write more than they are given. */
  written?(entries: JsonObject, parts: ReadonlyMap<string, Layer>, writer: FieldWriter): JsonObject;
  /** What conversions of legacy files need to know of the config. */
  converter?(context: LayerContext<F>): Json | undefined;
}

/**
 * Declares a layer class. It does nothing but check the types: put the result into the table with `registerLayer`.
 *
 * ```ts
 * const scale = defineLayer({
 *   className: "Scale",
 *   config: { start: initializer("ones") },
 *   variables: ({ config, input }) => [weight("scale", [knownDim(input, -1)], config.start)],
 * });
 * ```
 */
export function defineLayer<F extends Fields>(definition: LayerDefinition<F>): LayerDefinition<F> {
  return definition;
}

/** Definitions that Keras does not have itself: configs name their classes without a module. */
export const customDefinitions = new WeakSet<object>();

/** One weight in a definition. */
export function weight(
  attr: string,
  shape: readonly number[],
  initializer: Initializer,
  more: Omit<WeightSpec, "attr" | "shape" | "initializer"> = {},
): WeightSpec {
  return { attr, shape, initializer, ...more };
}
