import { Model, type ModelOptions } from "./model.ts";
import type { ObjectName } from "./naming.ts";
import type { Structure } from "./structure.ts";
import type { Symbolic } from "./symbolic.ts";

/** What {@link model} is given. */
export interface FunctionalOptions extends Omit<ModelOptions, "inputs" | "outputs"> {
  readonly inputs: Structure<Symbolic>;
  readonly outputs: Structure<Symbolic>;
}

const prefixes = { keras2: { prefix: "model" }, keras3: { prefix: "functional" } };

/** A model that is a graph of layer calls. */
export class Functional extends Model {
  static override readonly className: string = "Functional";

  constructor(options: FunctionalOptions, name?: ObjectName) {
    super(options, name ?? prefixes);
  }
}

/**
 * A functional model, as `keras.Model(inputs, outputs)`.
 *
 * ```ts
 * const a = layers.input([3]);
 * const b = layers.input([3]);
 * const shared = layers.dense(4);
 * const m = model({ inputs: [a, b], outputs: layers.add().apply([shared.apply(a), shared.apply(b)]) });
 * ```
 */
export function model(options: FunctionalOptions): Functional {
  return new Functional(options);
}
