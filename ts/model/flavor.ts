/** Which Keras a model is of: its names, orders, layouts and configs differ. */
export type Flavor = "keras2" | "keras3";

/** The flavour of models and layers that say none. */
export const defaultFlavor: Flavor = "keras3";

/** One value for each flavour. */
export interface PerFlavor<T> {
  readonly keras2: T;
  readonly keras3: T;
}
