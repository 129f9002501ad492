import { isLayer, type Layer } from "../model/layer.ts";
import { saveTarget } from "../model/unknown.ts";
import { loadInto, loadIntoSync, type LoadOptions, type LoadReport, type LoadSyncOptions } from "./load.ts";
import { saveFrom, saveFromSync, type SaveOptions, type SaveReport, type SaveSyncOptions } from "./save.ts";
import type { Source } from "./source.ts";
import type { Target } from "./target.ts";

function toSave(model: Layer | Target): Target {
  return isLayer(model) ? saveTarget(model) : model;
}

/** `model.loadWeights` for anything that can be described: a model or layer, or what `describe` gives. */
export async function loadWeights(model: Layer | Target, source: Source, options?: LoadOptions): Promise<LoadReport> {
  return isLayer(model) ? model.loadWeights(source, options) : loadInto(model, source, options);
}

/** {@link loadWeights}, here and now. */
export function loadWeightsSync(model: Layer | Target, source: Source, options?: LoadSyncOptions): LoadReport {
  return isLayer(model) ? model.loadWeightsSync(source, options) : loadIntoSync(model, source, options);
}

/** `model.saveWeights` for anything that can be described. */
export async function saveWeights(
  model: Layer | Target,
  destination: string | URL,
  options?: SaveOptions,
): Promise<SaveReport> {
  return saveFrom(toSave(model), destination, options);
}

/** {@link saveWeights}, here and now. */
export function saveWeightsSync(
  model: Layer | Target,
  destination: string | URL,
  options?: SaveSyncOptions,
): SaveReport {
  return saveFromSync(toSave(model), destination, options);
}
