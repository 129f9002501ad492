import { fail } from "./failure.ts";
import { InputLayer } from "./input_layer.ts";
import type { Layer } from "./layer.ts";
import type { Flavor } from "./flavor.ts";
import { takeName } from "./naming.ts";
import { unknownShape } from "./shape.ts";
import { flatten, mapStructure, type Structure } from "./structure.ts";
import { isSymbolic, type CallNode, type Symbolic } from "./symbolic.ts";

/** The calls between inputs and outputs, in Keras' orders. */
export interface Graph {
  readonly inputs: Structure<Symbolic>;
  readonly outputs: Structure<Symbolic>;
  /** All layers, the farthest from the outputs first, inside a depth by the order of the walk back from the outputs. */
  readonly layers: readonly Layer[];
  /** The calls that belong to the graph. */
  readonly nodes: ReadonlySet<CallNode>;
  /** The calls by depth, deepest first: each after all it needs. */
  readonly order: readonly CallNode[];
  /** Layers by depth, deepest first, in the order Keras has before it sorts them: its private dictionary. */
  readonly byDepth: ReadonlyMap<number, readonly Layer[]>;
}

/** Finds the calls from `inputs` to `outputs` and puts their layers into Keras' order (`map_graph`). */
export function mapGraph(inputs: Structure<Symbolic>, outputs: Structure<Symbolic>): Graph {
  const flatInputs = flatten(inputs, isSymbolic);
  const starts = new Set(flatInputs.map(nodeOf));
  const { finished, indices } = walkBack(flatten(outputs, isSymbolic), new Set(flatInputs));
  const inGraph = new Set(finished);
  const nodeDepths = new Map<CallNode, number>();
  const layerDepths = new Map<Layer, number>();
  for (const node of [...finished].reverse()) {
    const depth = Math.max(nodeDepths.get(node) ?? 0, layerDepths.get(node.layer) ?? 0);
    nodeDepths.set(node, depth);
    layerDepths.set(node.layer, depth);
    for (const parent of new Set(node.inputs.map(nodeOf))) {
      if (inGraph.has(parent)) nodeDepths.set(parent, Math.max(depth + 1, nodeDepths.get(parent) ?? 0));
    }
  }
  for (const node of starts) {
    if (!node.isInput || layerDepths.has(node.layer)) continue;
    layerDepths.set(node.layer, 0);
    indices.set(node.layer, -1);
    nodeDepths.set(node, 0);
  }
  const byDepth = group(layerDepths);
  const layers = [...byDepth.values()].flatMap((atDepth) =>
    [...atDepth].sort((a, b) => (indices.get(a) ?? 0) - (indices.get(b) ?? 0)),
  );
  const order = [...group(nodeDepths).values()].flat();
  checkConnected(order, new Set(flatInputs));
  checkNames(layers);
  return { inputs, outputs, layers, nodes: new Set(nodeDepths.keys()), order, byDepth };
}

/** Inputs and outputs of a graph. */
export interface Ends {
  readonly inputs: Structure<Symbolic>;
  readonly outputs: Structure<Symbolic>;
}

/**
 * A graph whose inputs are tensors inside another graph, on inputs of its own: as Keras does, the calls are made once
 * more, on new input layers; the layers and their weights are shared.
 */
export function onOwnInputs({ inputs, outputs }: Ends, flavor: Flavor): Ends {
  const inside = flatten(inputs, isSymbolic).filter((tensor) => !nodeOf(tensor).isInput);
  if (inside.length === 0) return { inputs, outputs };
  const copies = new Map<Symbolic, Symbolic>();
  for (const tensor of inside) {
    const name = flavor === "keras3" ? `${takeName(flavor, { prefix: "keras_tensor" })}CLONE` : undefined;
    if (tensor.shape === unknownShape) fail("ERR_WEIGHTS_UNKNOWN_LAYER", "an input of the model has no known shape");
    copies.set(tensor, new InputLayer(tensor.shape, { name, dtype: tensor.dtype, flavor }).output);
  }
  const copy = (arg: Structure<Symbolic>): Structure<Symbolic> =>
    mapStructure(arg, isSymbolic, (tensor) => copies.get(tensor) ?? tensor);
  for (const node of mapGraph(inputs, outputs).order) {
    if (node.isInput) continue;
    const args = node.args.map((arg) => copy(arg as Structure<Symbolic>));
    const kwargs = Object.entries(node.kwargs).map(([name, arg]) => [name, copy(arg as Structure<Symbolic>)] as const);
    const made = flatten(node.layer.applyNode(args, Object.fromEntries(kwargs)), isSymbolic);
    node.outputs.forEach((output, i) => {
      const found = made[i];
      if (found !== undefined) copies.set(output, found);
    });
  }
  return { inputs: copy(inputs), outputs: copy(outputs) };
}

/** The call that made a tensor. */
export function nodeOf(tensor: Symbolic): CallNode {
  return (
    tensor.history?.node ??
    fail("ERR_WEIGHTS_ARGUMENT", "a symbolic tensor of a model must come from layers.input() or from a layer's apply()")
  );
}

/** Depth first from the outputs, without recursion: graphs may be thousands of layers deep. */
function walkBack(
  outputs: readonly Symbolic[],
  inputs: ReadonlySet<Symbolic>,
): { finished: Set<CallNode>; indices: Map<Layer, number> } {
  const finished = new Set<CallNode>();
  const outside = new Set<CallNode>();
  const indices = new Map<Layer, number>();
  const stack: { readonly node: CallNode; next: number }[] = [];
  const enter = (tensor: Symbolic): void => {
    const node = nodeOf(tensor);
    if (finished.has(node) || outside.has(node)) return;
    if (!node.isInput && inputs.has(tensor)) {
      outside.add(node);
      return;
    }
    if (!indices.has(node.layer)) indices.set(node.layer, indices.size);
    stack.push({ node, next: 0 });
  };
  for (const output of outputs) {
    enter(output);
    for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
      const input = top.node.inputs[top.next];
      top.next += 1;
      if (input !== undefined) {
        enter(input);
      } else {
        stack.pop();
        finished.add(top.node);
      }
    }
  }
  return { finished, indices };
}

function group<T>(depths: ReadonlyMap<T, number>): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const [item, depth] of depths) {
    const members = groups.get(depth);
    if (members) members.push(item);
    else groups.set(depth, [item]);
  }
  return new Map([...groups].sort(([a], [b]) => b - a));
}

function checkConnected(order: readonly CallNode[], inputs: ReadonlySet<Symbolic>): void {
  const known = new Set(inputs);
  for (const node of order) {
    for (const tensor of node.inputs) {
      if (known.has(tensor)) continue;
      fail(
        "ERR_WEIGHTS_ARGUMENT",
        `the graph is not connected: "${node.layer.name}" needs a tensor that no input leads to`,
        {
          layer: node.layer.name,
        },
      );
    }
    if (!node.isInput || node.layer instanceof InputLayer) for (const tensor of node.outputs) known.add(tensor);
  }
}

function checkNames(layers: readonly Layer[]): void {
  const seen = new Set<string>();
  for (const { name } of layers) {
    if (seen.has(name)) fail("ERR_WEIGHTS_NAME", `two layers of one model are named "${name}"`, { layer: name });
    seen.add(name);
  }
}
