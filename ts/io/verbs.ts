import type { Layer } from "../model/layer.ts";
import { describe, type DescribeOptions } from "../model/tree.ts";
import { loadInto, loadIntoSync, type LoadOptions, type LoadReport, type LoadSyncOptions } from "./load.ts";
import { saveFrom, saveFromSync, type SaveOptions, type SaveReport, type SaveSyncOptions } from "./save.ts";
import type { Source } from "./source.ts";
import type { Target } from "./target.ts";

function targetOf(model: Layer | Target, options?: DescribeOptions): Target {
  return "tree" in model ? model : describe(model, options);
}

/** `model.loadWeights` for anything that can be described: a model or layer, or what {@link describe} gives. */
export async function loadWeights(model: Layer | Target, source: Source, options?: LoadOptions): Promise<LoadReport> {
  return loadInto(targetOf(model), source, options);
}

/** {@link loadWeights}, here and now. */
export function loadWeightsSync(model: Layer | Target, source: Source, options?: LoadSyncOptions): LoadReport {
  return loadIntoSync(targetOf(model), source, options);
}

/** `model.saveWeights` for anything that can be described. */
export async function saveWeights(
  model: Layer | Target,
  destination: string | URL,
  options?: SaveOptions,
): Promise<SaveReport> {
  return saveFrom(targetOf(model, { optimizers: "trained" }), destination, options);
}

/** {@link saveWeights}, here and now. */
export function saveWeightsSync(
  model: Layer | Target,
  destination: string | URL,
  options?: SaveSyncOptions,
): SaveReport {
  return saveFromSync(targetOf(model, { optimizers: "trained" }), destination, options);
}
