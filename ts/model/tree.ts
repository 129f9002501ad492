import type { Json } from "../config/json.ts";
import { walked, type AttributeValue } from "./attributes.ts";
import type { Flavor } from "./flavor.ts";
import { Optimizer } from "../optimizers/optimizer.ts";
import { optimizerEdges, type TreeSlot } from "../optimizers/trackables.ts";
import type { Layer } from "./layer.ts";
import type { ModelKind } from "./model_kind.ts";
import { trackablesOf, type TreeEdge } from "./trackables.ts";
import type { Variable } from "./variable.ts";

/** The version of the tree that the native side understands. */
export const modelTreeVersion = 1;

/** A variable of a {@link ModelTree}. */
export interface TreeVariable {
  /** Name inside its layer: `kernel`. */
  readonly name: string;
  /** Keras 3: `sequential/dense/kernel`; Keras 2: `dense/kernel:0`. */
  readonly path: string;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The variable's flag as it stands now. */
  readonly trainable: boolean;
  /** Whether it exists in files only. */
  readonly virtual?: true;
  /** Of a virtual one: the variable that takes the file's value. */
  readonly standsFor?: number;
}

/** What an attribute holds, by numbers of nodes. */
export type TreeAttribute =
  | { readonly node: number }
  | { readonly list: readonly TreeAttribute[] }
  | { readonly dict: readonly (readonly [string, TreeAttribute])[] };

/** A tracked sub-layer, or (Keras 2) a tracked list of them, which counts as one. */
export type TreeTracked = number | readonly TreeTracked[];

/** An object of a {@link ModelTree}. */
export interface TreeNode {
  /** Python class name. */
  readonly class: string;
  readonly name: string | null;
  readonly kind: "layer" | "optimizer" | ModelKind;
  readonly built: boolean;
  readonly trainable: boolean;
  /** Own variables by the list they were created into; freezing does not move them. */
  readonly trainableVariables: readonly number[];
  readonly nonTrainableVariables: readonly number[];
  /** What `model.layers` gives; models only. */
  readonly layers?: readonly number[];
  readonly sublayers?: readonly TreeTracked[];
  readonly attributes?: readonly (readonly [string, TreeAttribute])[];
  readonly saved?: readonly number[];
  readonly converter?: Json;
  /** Edges of TensorFlow's object graph, where attributes and own weights do not say them. */
  readonly trackables?: readonly TreeEdge[];
  /** Keras 2's old optimizers: variables that hang at variables of the model. */
  readonly slots?: readonly TreeSlot[];
}

/** A model as data: all the native side is told of it. `docs/model-tree.schema.json` is its schema. */
export interface ModelTree {
  readonly version: typeof modelTreeVersion;
  readonly flavor: Flavor;
  /** The node whose weights are meant. */
  readonly root: number;
  readonly variables: readonly TreeVariable[];
  readonly nodes: readonly TreeNode[];
}

/** A tree with what its numbers stand for. */
export interface Description {
  readonly tree: ModelTree;
  readonly nodes: readonly (Layer | Optimizer)[];
  readonly variables: readonly Variable[];
}

/** Numbers things in the order in which they are first met. */
class Numbering<T> {
  readonly items: T[] = [];
  readonly #numbers = new Map<T, number>();

  numberOf(item: T): number {
    const known = this.#numbers.get(item);
    if (known !== undefined) return known;
    this.#numbers.set(item, this.items.length);
    this.items.push(item);
    return this.items.length - 1;
  }
}

/** What {@link describe} may be told. */
export interface DescribeOptions {
  /**
   * Optimizers of compiled models: with all their variables (default, what a file is loaded into), without variables
   * that never got a value (what is saved), or not at all.
   */
  readonly optimizers?: "all" | "trained" | "none";
}

/** Describes a model, or any layer on its own, with all that hangs below it. */
export function describe(root: Layer, { optimizers = "all" }: DescribeOptions = {}): Description {
  root.settle();
  const objects = new Numbering<Layer | Optimizer>();
  const variables = new Numbering<Variable>();
  objects.numberOf(root);
  const nodes: TreeNode[] = [];
  // The list grows while it is walked: describing a node numbers what it leads to.
  for (let next = objects.items[0]; next !== undefined; next = objects.items[nodes.length]) {
    if (next instanceof Optimizer) {
      nodes.push(describeOptimizer(next, variables, optimizers === "trained" && !next.hasState));
      continue;
    }
    const held = optimizers === "none" ? undefined : next.heldOptimizer();
    nodes.push(describeNode(next, objects, variables, held));
  }
  const tree: ModelTree = {
    version: modelTreeVersion,
    flavor: root.flavor,
    root: 0,
    variables: variables.items.map((variable) => describeVariable(variable, variables)),
    nodes,
  };
  return { tree, nodes: objects.items, variables: variables.items };
}

/** Its own list has what it has before any training: files of models that were only compiled hold no more. */
function describeOptimizer(optimizer: Optimizer, variables: Numbering<Variable>, fresh: boolean): TreeNode {
  const number = (variable: Variable): number => variables.numberOf(variable);
  return {
    class: optimizer.className,
    name: optimizer.name,
    kind: "optimizer",
    built: true,
    trainable: true,
    trainableVariables: [],
    nonTrainableVariables: optimizer.ownVariables.map(number),
    ...(!fresh && optimizer.built && { saved: optimizer.variables.map(number) }),
    ...optimizerEdges(optimizer, number, fresh || !optimizer.built),
  };
}

function describeNode(
  layer: Layer,
  objects: Numbering<Layer | Optimizer>,
  variables: Numbering<Variable>,
  optimizer: Optimizer | undefined,
): TreeNode {
  layer.settle();
  const own = layer.ownVariables();
  const saved = layer.savedVariables();
  const number = (item: Layer): number => objects.numberOf(item);
  const listed = layer.listedLayers().map(number);
  const sublayers = layer.trackedValues().map((value) => tracked(value, layer.flavor, number));
  const attributes = layer.attributes().flatMap(([name, value]): (readonly [string, TreeAttribute])[] => {
    const seen = walked(value, layer.flavor);
    return seen === undefined ? [] : [[name, attribute(seen, number)]];
  });
  const converter = layer.converter();
  let trackables = trackablesOf(layer, attributes, {
    node: number,
    variable: (variable) => variables.numberOf(variable),
  });
  if (optimizer !== undefined) {
    const node = { node: objects.numberOf(optimizer) };
    attributes.push(["optimizer", node]);
    if (trackables !== undefined) trackables = [...trackables, ["optimizer", node]];
  }
  return {
    class: layer.className,
    name: layer.name,
    kind: layer.kind,
    built: layer.built,
    trainable: layer.trainable,
    trainableVariables: own.trainable.map((variable) => variables.numberOf(variable)),
    nonTrainableVariables: own.nonTrainable.map((variable) => variables.numberOf(variable)),
    ...(listed.length > 0 && { layers: listed }),
    ...(sublayers.length > 0 && { sublayers }),
    ...(attributes.length > 0 && { attributes }),
    ...(saved && { saved: saved.map((variable) => variables.numberOf(variable)) }),
    ...(converter !== undefined && { converter }),
    ...(trackables !== undefined && { trackables }),
  };
}

function describeVariable(variable: Variable, variables: Numbering<Variable>): TreeVariable {
  const { localName, path, dtype, shape, trainable, virtual, standsFor } = variable;
  const real = standsFor && { standsFor: variables.numberOf(standsFor) };
  return { name: localName, path, dtype, shape, trainable, ...(virtual && { virtual }), ...real };
}

function attribute(value: AttributeValue, number: (layer: Layer) => number): TreeAttribute {
  if ("layer" in value) return { node: number(value.layer) };
  if ("list" in value) return { list: value.list.map((item) => attribute(item, number)) };
  return { dict: value.dict.map(([key, item]) => [key, attribute(item, number)]) };
}

function tracked(value: AttributeValue, flavor: Flavor, number: (layer: Layer) => number): TreeTracked {
  if ("layer" in value) return number(value.layer);
  if ("list" in value) return value.list.map((item) => tracked(item, flavor, number));
  return value.dict.map(([, item]) => tracked(item, flavor, number));
}
