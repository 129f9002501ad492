import { calling } from "../native.ts";

/** Weights of a tree's root by numbers of variables, in Keras' orders. */
export interface WeightOrders {
  readonly weights: readonly number[];
  readonly trainable: readonly number[];
  readonly nonTrainable: readonly number[];
}

/** The orders of a tree, given as JSON. They are the native side's to know. */
export function weightOrders(tree: string): WeightOrders {
  return JSON.parse(calling((addon) => addon.weightOrders(tree))) as WeightOrders;
}
