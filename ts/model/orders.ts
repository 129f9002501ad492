import { fail } from "./failure.ts";

/** Weights of a tree's root by numbers of variables, in Keras' orders. */
export interface WeightOrders {
  readonly weights: readonly number[];
  readonly trainable: readonly number[];
  readonly nonTrainable: readonly number[];
}

let source: ((tree: string) => WeightOrders) | undefined;

/** Says who puts weights in order: the native side, which is loaded when it is first needed. */
export function setOrderSource(orders: (tree: string) => WeightOrders): void {
  source = orders;
}

/** The orders of a tree, given as JSON. */
export function weightOrders(tree: string): WeightOrders {
  return source?.(tree) ?? fail("ERR_WEIGHTS_NATIVE_MISSING", "the native part of keras-weights is not loaded");
}
