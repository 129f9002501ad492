import { weightOrders } from "./orders.ts";
import { Optimizer } from "../optimizers/optimizer.ts";
import { isTensor, type Tensor, type TypedArray } from "../tensor.ts";
import { fail } from "./failure.ts";
import type { Layer } from "./layer.ts";
import { structureVersion } from "./structure_version.ts";
import { describe } from "./tree.ts";
import { needKnown } from "./unknown.ts";
import type { Variable } from "./variable.ts";

/** The weights of a layer in Keras' orders. */
export interface WeightLists {
  readonly weights: readonly Variable[];
  readonly trainable: readonly Variable[];
  readonly nonTrainable: readonly Variable[];
}

const cache = new WeakMap<Layer, { readonly version: number; readonly lists: WeightLists }>();

/** The weights of a layer or model in the orders of its flavour; kept until some structure changes. */
export function weightLists(layer: Layer): WeightLists {
  const known = cache.get(layer);
  if (known?.version === structureVersion()) return known.lists;
  const { tree, nodes, variables } = describe(layer, { optimizers: "none" });
  needKnown(nodes);
  const orders = weightOrders(JSON.stringify(tree));
  const pick = (numbers: readonly number[]): Variable[] =>
    numbers.map((number) => variables[number]).filter((variable) => variable !== undefined);
  const lists = {
    weights: pick(orders.weights),
    trainable: pick(orders.trainable),
    nonTrainable: pick(orders.nonTrainable),
  };
  // Describing settles what waited, which counts as a change.
  cache.set(layer, { version: structureVersion(), lists });
  return lists;
}

/** Live views of all weights. */
export function readWeights(layer: Layer): Tensor[] {
  const owners = ownersOf(layer);
  return weightLists(layer).weights.map((variable) => tensorOf(variable, owners.get(variable)));
}

/** A live view of one weight. */
export function tensorOf(variable: Variable, layer?: string): Tensor {
  return variable.tensor(layer);
}

/** Copies values into all weights; counts and shapes are checked before anything changes. */
export function writeWeights(layer: Layer, values: readonly (Tensor | TypedArray)[]): void {
  const { weights } = weightLists(layer);
  if (values.length !== weights.length) {
    fail("ERR_WEIGHTS_WEIGHT_COUNT", `"${layer.name}" has ${weights.length} weights, but ${values.length} were given`, {
      layer: layer.name,
      expected: weights.length,
      found: values.length,
    });
  }
  const owners = ownersOf(layer);
  weights.forEach((variable, i) => {
    checkValue(variable, values[i], owners.get(variable) ?? layer.name);
  });
  weights.forEach((variable, i) => {
    const value = values[i];
    if (value !== undefined) variable.assign(value);
  });
}

function checkValue(variable: Variable, value: Tensor | TypedArray | undefined, layer: string): void {
  if (!isTensor(value) && !ArrayBuffer.isView(value)) {
    fail("ERR_WEIGHTS_ARGUMENT", `the value for ${variable.path} is neither a Tensor nor a typed array`, {
      layer,
      weight: variable.path,
    });
  }
  variable.check(value, layer);
}

function ownersOf(root: Layer): Map<Variable, string> {
  const owners = new Map<Variable, string>();
  for (const layer of describe(root, { optimizers: "none" }).nodes) {
    if (layer instanceof Optimizer) continue;
    const { trainable, nonTrainable } = layer.ownVariables();
    for (const variable of [...trainable, ...nonTrainable]) if (!owners.has(variable)) owners.set(variable, layer.name);
  }
  return owners;
}
