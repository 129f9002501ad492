import type { JsonObject } from "../config/json.ts";
import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import type { Layer } from "../model/layer.ts";
import { customDefinitions, type LayerDefinition } from "./definition.ts";
import type { Fields } from "./fields.ts";
import { builtinDefinitions } from "./table.ts";

/** A custom layer written as a class: what a config of it is made into. */
export interface LayerClass {
  readonly className: string;
  /** Makes the layer from its config (Keras' names, with `name`, `trainable` and `dtype`); absent: `new` with it. */
  fromConfig?(config: JsonObject): Layer;
  new (options: never): Layer;
}

/** What a class name stands for. */
export type Registered = { readonly definition: LayerDefinition } | { readonly layerClass: LayerClass };

const builtin = new Map<string, LayerDefinition[]>();
for (const definition of builtinDefinitions) {
  for (const name of [definition.className, ...(definition.aliases ?? [])]) {
    builtin.set(name, [...(builtin.get(name) ?? []), definition]);
  }
}
const custom = new Map<string, Registered>();

/**
 * Adds a layer class to the table, so that configs may name it and files fit it: a definition made by `defineLayer`, or
 * a class that extends `Layer` or `Model` and says its `className`.
 *
 * ```ts
 * registerLayer(defineLayer({ className: "Scale", config: {}, variables: … }));
 * registerLayer(MyBlock);
 * ```
 *
 * @throws ERR_WEIGHTS_NAME when the class has no name or the name is one of Keras' own.
 */
export function registerLayer<F extends Fields>(layer: LayerDefinition<F> | LayerClass): void {
  const entry: Registered =
    typeof layer === "function" ? { layerClass: layer } : { definition: layer as unknown as LayerDefinition };
  const { className } = layer;
  if (className === "" || className === "Layer" || className === "Model" || builtin.has(className)) {
    fail("ERR_WEIGHTS_NAME", `a custom layer needs a class name of its own, not ${JSON.stringify(className)}`);
  }
  const names = typeof layer === "function" ? [className] : [className, ...(layer.aliases ?? [])];
  if ("definition" in entry) customDefinitions.add(entry.definition);
  for (const name of names) custom.set(name, entry);
}

/** What a config's class name stands for in a flavour. A package prefix (`Custom>Block`) does not count. */
export function findLayer(className: string, flavor: Flavor): Registered | undefined {
  const bare = className.slice(className.lastIndexOf(">") + 1);
  const own = custom.get(className) ?? custom.get(bare);
  if (own !== undefined) return own;
  const candidates = builtin.get(bare) ?? [];
  const definition = candidates.find(({ flavors }) => flavors?.includes(flavor) ?? true) ?? candidates[0];
  return definition && { definition };
}
