import * as attention from "./attention.ts";
import * as convolutional from "./convolutional.ts";
import * as separable from "./convolutional_separable.ts";
import * as core from "./core.ts";
import * as einsum from "./core_einsum.ts";
import type { LayerDefinition } from "./definition.ts";
import * as locallyConnected from "./locally_connected.ts";
import * as merging from "./merging.ts";
import * as normalization from "./normalization.ts";
import * as otherNormalization from "./normalization_other.ts";
import * as pooling from "./pooling.ts";
import * as preprocessing from "./preprocessing.ts";
import * as images from "./preprocessing_image.ts";
import * as recurrent from "./recurrent.ts";
import * as cells from "./recurrent_cells.ts";
import * as recurrentConvolution from "./recurrent_conv.ts";
import * as regularization from "./regularization.ts";
import * as reshaping from "./reshaping.ts";
import * as wrappers from "./wrappers.ts";

const families: readonly object[] = [
  core,
  einsum,
  convolutional,
  separable,
  locallyConnected,
  normalization,
  otherNormalization,
  recurrent,
  cells,
  recurrentConvolution,
  wrappers,
  attention,
  pooling,
  reshaping,
  merging,
  regularization,
  preprocessing,
  images,
];

/** Every layer class that Keras itself has: whatever the family files declare. */
export const builtinDefinitions: readonly LayerDefinition[] = families
  .flatMap((family) => Object.values(family) as unknown[])
  .filter(isDefinition);

function isDefinition(value: unknown): value is LayerDefinition {
  return typeof value === "object" && value !== null && "className" in value && "config" in value;
}
