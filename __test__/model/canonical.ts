import type { ModelTree, TreeAttribute, TreeNode, TreeTracked } from "../../ts/model/tree.ts";

/** A tree in a form that two describers agree on: nodes and variables numbered by one walk, attributes sorted. */
export function canonical(tree: ModelTree): object {
  const nodes = new Map<number, number>();
  const variables = new Map<number, number>();
  const order: number[] = [];
  const node = (number: number): number => {
    const known = nodes.get(number);
    if (known !== undefined) return known;
    nodes.set(number, nodes.size);
    order.push(number);
    return nodes.size - 1;
  };
  const variable = (number: number): number => {
    const known = variables.get(number) ?? variables.size;
    variables.set(number, known);
    return known;
  };
  const tracked = (value: TreeTracked): unknown => (typeof value === "number" ? node(value) : value.map(tracked));
  const attribute = (value: TreeAttribute): unknown => {
    if ("node" in value) return node(value.node);
    if ("list" in value) return value.list.map(attribute);
    return Object.fromEntries(value.dict.map(([key, item]) => [key, attribute(item)]));
  };
  const sortedAttributes = (entries: TreeNode["attributes"]): unknown[] =>
    [...(entries ?? [])].sort(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => [name, attribute(value)]);
  node(tree.root);
  const described: object[] = [];
  for (let next = order[0]; next !== undefined; next = order[described.length]) {
    const found = tree.nodes[next]!;
    described.push({
      class: found.class,
      name: found.name,
      kind: found.kind,
      built: found.built,
      trainable: found.trainable,
      sublayers: (found.sublayers ?? []).map(tracked),
      layers: (found.layers ?? []).map(node),
      attributes: sortedAttributes(found.attributes),
      trainableVariables: found.trainableVariables.map(variable),
      nonTrainableVariables: found.nonTrainableVariables.map(variable),
      saved: found.saved?.map(variable),
      converter: found.converter,
    });
  }
  const byNumber = [...variables].sort(([, a], [, b]) => a - b).map(([number]) => tree.variables[number]!);
  return {
    flavor: tree.flavor,
    nodes: described,
    variables: byNumber.map((found) => ({
      ...found,
      virtual: found.virtual ?? false,
      standsFor: found.standsFor === undefined ? undefined : variable(found.standsFor),
    })),
  };
}

const training = new Set(["optimizer", "metric", "loss"]);

/** A tree of a compiled model without what compiling added. */
export function withoutTraining(tree: ModelTree): ModelTree {
  const isTraining = (value: TreeAttribute): boolean => {
    if ("node" in value) return training.has(tree.nodes[value.node]!.kind);
    return ("list" in value ? value.list : value.dict.map(([, item]) => item)).every(isTraining);
  };
  const nodes = tree.nodes.map((node) => ({
    ...node,
    attributes: (node.attributes ?? []).filter(([, value]) => !isTraining(value)),
    sublayers: (node.sublayers ?? []).filter(
      (value) => typeof value !== "number" || !training.has(tree.nodes[value]!.kind as string),
    ),
  }));
  return { ...tree, nodes };
}
