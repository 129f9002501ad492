import type { Shape } from "../model/shape.ts";
import { InputLayer, type InputOptions } from "../model/input_layer.ts";
import type { Layer } from "../model/layer.ts";
import type { Symbolic } from "../model/symbolic.ts";
import { make, type CommonOptions, type DeclaredLayer } from "./declared.ts";
import type { LayerDefinition } from "./definition.ts";
import type { Fields, OptionsOf } from "./fields.ts";
import { isDictionary } from "../model/structure.ts";

/**
 * A factory of a declared class: positional arguments as Keras' constructor takes them, then options in camel case.
 */
export type LayerFactory<F extends Fields> = (...args: FactoryArguments<F>) => DeclaredLayer<F>;

type Options<F extends Fields> = OptionsOf<F> & CommonOptions;
// No `object`: options are the only objects, and a misspelt one must not pass for a positional argument.
type Value = string | number | boolean | null | readonly unknown[] | Layer;
type FactoryArguments<F extends Fields> =
  | [options?: Options<F>]
  | [first: Value, options?: Options<F>]
  | [first: Value, second: Value, options?: Options<F>]
  | [first: Value, second: Value, third: Value, options?: Options<F>]
  | [first: Value, second: Value, third: Value, fourth: Value, options?: Options<F>];

/** Makes the factory of a definition. */
export function factory<F extends Fields>(definition: LayerDefinition<F>): LayerFactory<F> {
  const names = (definition.args ?? []).map((key) =>
    key.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase()),
  );
  return (...args) => {
    const values: unknown[] = [...args];
    const last = values.at(-1);
    const options = isDictionary(last) && values.length > 0 ? (values.pop() as Options<F>) : undefined;
    const positional = Object.fromEntries(values.map((value, i) => [names[i] ?? `argument ${i + 1}`, value]));
    return make(definition, { ...positional, ...options } as Options<F>);
  };
}

/**
 * The input of a model: a symbolic tensor of a shape without the batch.
 *
 * ```ts
 * const images = input([28, 28, 1], { name: "images" });
 * ```
 */
export function input(shape: Shape, options: InputOptions = {}): Symbolic {
  return new InputLayer([options.batchSize ?? null, ...shape], options).output;
}
