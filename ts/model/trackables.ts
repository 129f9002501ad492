import { helperObjects, weightAliases, type HelperObjects } from "../layers/helper_objects.ts";
import { layersIn } from "./attributes.ts";
import { isLayer, type Layer } from "./layer.ts";
import type { Model } from "./model.ts";
import { isDictionary } from "./structure.ts";
import type { TreeAttribute } from "./tree.ts";
import { Variable } from "./variable.ts";

/** What an edge of TensorFlow's object graph leads to: a node, a variable, or an object with edges of its own. */
export type TreeTrackable =
  | { readonly node: number }
  | { readonly variable: number }
  | { readonly object: readonly (readonly [string, TreeTrackable])[] };

/** An edge by the name that TensorFlow knows it by. */
export type TreeEdge = readonly [name: string, to: TreeTrackable];

/** Gives layers and variables their numbers in the tree. */
export interface Numbers {
  node(layer: Layer): number;
  variable(variable: Variable): number;
}

/**
 * The edges of a layer in TensorFlow's object graph, without those that every model has to its layers. Undefined when
 * they are what attributes and own weights say anyway.
 */
export function trackablesOf(
  layer: Layer,
  attributes: readonly (readonly [string, TreeAttribute])[],
  numbers: Numbers,
): readonly TreeEdge[] | undefined {
  const { trainable, nonTrainable } = layer.ownVariables();
  const own = [...trainable, ...nonTrainable];
  const parts = partEdges(layer, numbers);
  const plain: TreeEdge[] = own.map((variable) => [variable.localName, { variable: numbers.variable(variable) }]);
  const helpers = layer.flavor === "keras2" ? helperObjects(layer.className, () => layer.getConfig()) : {};
  const edges = [
    ...(helpers.first ?? []).map(empty),
    ...parts,
    ...own.flatMap((variable) => weightEdges(layer, variable, helpers, numbers)),
    ...(helpers.last ?? []).map((name) => lastHelper(layer, name)),
    ...operations(layer, numbers),
  ];
  const usual = [...attributes.map(([name, value]): TreeEdge => [name, asTrackable(value)]), ...plain];
  return JSON.stringify(edges) === JSON.stringify(usual) ? undefined : edges;
}

/** An attribute as the native side takes it for an edge where no edges are listed. */
function asTrackable(value: TreeAttribute): TreeTrackable {
  if ("node" in value) return value;
  if ("list" in value) return { object: value.list.map((item, k) => [String(k), asTrackable(item)]) };
  return { object: value.dict.map(([key, item]) => [key, asTrackable(item)]) };
}

function empty(name: string): TreeEdge {
  return [name, { object: [] }];
}

/** Stacked cells have a list of states for each cell that has two. */
function lastHelper(layer: Layer, name: string): TreeEdge {
  const cells =
    layer
      .trackedLayers()
      .find(({ className }) => className === "StackedRNNCells")
      ?.trackedLayers() ?? [];
  const lists = cells.flatMap(({ className }, k) => (className === "LSTMCell" ? [empty(String(k))] : []));
  return [name, { object: lists }];
}

function weightEdges(layer: Layer, variable: Variable, { after = {} }: HelperObjects, numbers: Numbers): TreeEdge[] {
  const to = { variable: numbers.variable(variable) };
  const { localName } = variable;
  const alias = weightAliases[layer.className]?.[localName];
  const helper = after[localName];
  const held = Object.entries(layer)
    .filter(([name, value]) => value === variable && name !== localName)
    .map(([name]) => name);
  return [
    [localName, to],
    ...(alias === undefined ? [] : [[alias, to] as const]),
    ...(helper === undefined ? [] : [empty(helper)]),
    ...held.map((name) => [name, to] as const),
  ];
}

/** Attributes that hold layers or lists of variables. TensorFlow tracks by what is assigned, not by what is reachable. */
function partEdges(layer: Layer, numbers: Numbers): TreeEdge[] {
  const known = layer.attributes();
  const tracked = new Set(layer.trackedLayers());
  const values = new Map<string, unknown>(Object.entries(layer));
  for (const [name, value] of known) {
    if (values.has(name)) continue;
    if (layersIn(value).every((inner) => tracked.has(inner)))
      values.set(name, "layer" in value ? value.layer : layersIn(value));
  }
  return [...values].flatMap(([name, value]) => {
    if (value instanceof Variable) return [];
    const to = edgeTo(value, numbers);
    return to === undefined ? [] : [[name, to] as const];
  });
}

function edgeTo(value: unknown, numbers: Numbers): TreeTrackable | undefined {
  if (isLayer(value)) return { node: numbers.node(value) };
  if (value instanceof Variable) return { variable: numbers.variable(value) };
  const entries = Array.isArray(value)
    ? value.map((item, k) => [String(k), item as unknown] as const)
    : value instanceof Map
      ? [...(value as Map<unknown, unknown>)].map(([key, item]) => [String(key), item] as const)
      : isDictionary(value)
        ? Object.entries(value)
        : [];
  const object = entries.flatMap(([name, item]) => {
    const to = edgeTo(item, numbers);
    return to === undefined ? [] : [[name, to] as const];
  });
  return object.length > 0 ? { object } : undefined;
}

/** Keras 3 keeps what a graph is made of in a list; a Sequential model keeps a functional one that does. */
function operations(layer: Layer, numbers: Numbers): TreeEdge[] {
  const graph = layer.flavor === "keras3" && "graph" in layer ? (layer as Model).graph : undefined;
  if (graph === undefined) return [];
  const list = graph.layers.map((inner, k): TreeEdge => [String(k), { node: numbers.node(inner) }]);
  const all: TreeEdge = ["_operations", { object: list }];
  return layer.kind === "sequential" ? [["_functional", { object: [all] }]] : [all];
}
