import type { LayerDefinition } from "./definition.ts";
import * as convolutional from "./convolutional.ts";
import * as core from "./core.ts";
import * as merging from "./merging.ts";
import * as normalization from "./normalization.ts";
import * as pooling from "./pooling.ts";
import * as recurrent from "./recurrent.ts";
import * as cells from "./recurrent_cells.ts";
import * as regularization from "./regularization.ts";
import * as reshaping from "./reshaping.ts";

const families = [core, convolutional, normalization, recurrent, cells, pooling, reshaping, merging, regularization];

/** Every layer class that Keras itself has: whatever the family files declare. */
export const builtinDefinitions: readonly LayerDefinition[] = families
  .flatMap((family) => Object.values(family) as unknown[])
  .filter(isDefinition);

function isDefinition(value: unknown): value is LayerDefinition {
  return typeof value === "object" && value !== null && "className" in value && "config" in value;
}
