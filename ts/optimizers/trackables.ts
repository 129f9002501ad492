import type { TreeEdge } from "../model/trackables.ts";
import type { Variable } from "../model/variable.ts";
import type { Optimizer } from "./optimizer.ts";

/** A slot variable by its number, with the number of the model's variable and the slot's name. */
export type TreeSlot = readonly [of: number, name: string, slot: number];

/** What TensorFlow's object graph says of an optimizer. */
export interface OptimizerEdges {
  readonly trackables: readonly TreeEdge[];
  /** Keras 2's old optimizers: variables that hang at the model's variables. */
  readonly slots?: readonly TreeSlot[];
}

/** Attributes of Keras 2's optimizers that list the slots of one name. */
const lists: Readonly<Record<string, string>> = {
  average: "_model_variables_moving_average",
  m: "_momentums",
  v: "_velocities",
  vhat: "_velocity_hats",
  velocity: "_velocities",
  momentum: "_momentums",
  average_gradient: "_average_gradients",
  accumulated_grad: "_accumulated_grads",
  accumulated_delta_var: "_accumulated_delta_vars",
  accumulator: "_accumulators",
  linear: "_linears",
};

/** Classes that call them otherwise. */
const otherLists: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  SGD: { m: "momentums" },
  Lion: { m: "momentums" },
  Adamax: { m: "_m", u: "_u" },
  Adafactor: { r: "_r", c: "_c", v: "_v" },
};

/** Lists that are there even when nothing is in them. */
const alwaysThere: Readonly<Record<string, readonly string[]>> = {
  RMSprop: ["_velocities", "_momentums", "_average_gradients"],
};

type Numbers = (variable: Variable) => number;

/** Keras 2's lists of slots, each in the order of the variables that it trains. */
function slotLists({ className, slots }: Optimizer, number: Numbers): TreeEdge[] {
  const found = new Map<string, TreeEdge[]>();
  const single: TreeEdge[] = [];
  for (const { name, of, variable } of slots) {
    if (of === undefined) {
      single.push(["_u_product", { variable: number(variable) }]);
      continue;
    }
    const list = otherLists[className]?.[name] ?? lists[name] ?? name;
    const items = found.get(list) ?? [];
    items.push([String(items.length), { variable: number(variable) }]);
    found.set(list, items);
  }
  const average = lists["average"] ?? "";
  const first = found.has(average) ? [average] : [];
  const names = new Set([...first, ...(alwaysThere[className] ?? []), ...found.keys()]);
  return [...[...names].map((name): TreeEdge => [name, { object: found.get(name) ?? [] }]), ...single];
}

/** Optimizers of before Keras 2.11 keep numbers of their config as variables, and slots at the model's variables. */
function oldEdges({ rootVariables, hyperparameters, slots }: Optimizer, number: Numbers): OptimizerEdges {
  const edges = (variables: readonly Variable[]): TreeEdge[] =>
    variables.map((variable) => [variable.localName, { variable: number(variable) }]);
  const [iteration, ...more] = rootVariables;
  const alone = slots.flatMap(({ of, variable }) => (of === undefined ? [variable] : []));
  return {
    trackables: edges([...(iteration ? [iteration] : []), ...hyperparameters, ...more, ...alone]),
    slots: slots.flatMap(({ name, of, variable }): TreeSlot[] =>
      of === undefined ? [] : [[number(of), name, number(variable)]],
    ),
  };
}

/**
 * The edges of an optimizer, as TensorFlow tracks what Keras assigns.
 *
 * @param fresh Whether nothing was trained yet: then Keras has made no slots.
 */
export function optimizerEdges(optimizer: Optimizer, number: Numbers, fresh: boolean): OptimizerEdges {
  if (optimizer.legacy) return fresh ? { trackables: [] } : oldEdges(optimizer, number);
  const to = (name: string, variable: Variable): TreeEdge => [name, { variable: number(variable) }];
  const { inner, rootVariables, rate, flavor } = optimizer;
  const [iteration] = rootVariables;
  const slots = fresh || inner !== undefined ? [] : optimizer.slots.filter(({ hidden }) => !hidden);
  const all = [...rootVariables, ...slots.map(({ variable }) => variable)];
  const trackables: TreeEdge[] = [["_variables", { object: all.map((variable, k) => to(String(k), variable)) }]];
  // What is in this list is the model's own; that it is there tells Keras 3's optimizers from Keras 2's.
  if (flavor === "keras3") trackables.push(["_trainable_variables", { object: [] }]);
  if (iteration !== undefined) trackables.push(to("_iterations", iteration));
  if (rate !== undefined) trackables.push(to(`_${rate.localName}`, rate));
  if (inner !== undefined) {
    trackables.push(["inner_optimizer", { object: optimizerEdges(inner, number, fresh).trackables }]);
    trackables.push(...rootVariables.slice(2).map((variable) => to(variable.localName, variable)));
  }
  if (flavor === "keras2" && !fresh) trackables.push(["_index_dict", { object: [] }], ...slotLists(optimizer, number));
  return { trackables };
}
