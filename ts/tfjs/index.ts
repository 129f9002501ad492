export { copyWeights, type CopyOptions, type CopyReport } from "./copy.ts";
export { modelCheckpoint, type TfCheckpointCallback, type TfModelCheckpointOptions } from "./checkpoint.ts";
export { registerLayers } from "./gru.ts";
export { keepFrozenNormalization } from "./frozen.ts";
export { loadLayersModel, type LoadLayersModelOptions } from "./load.ts";
export type { Refusal, TranslationNote } from "./problems.ts";
export type { TfLayerLike, TfModelLike, TfNamespaceLike, TfTensorLike, TfVariableLike } from "./structural.ts";
export { translateConfig, type TranslateOptions, type Translation } from "./translate.ts";
export { getWeights, loadWeights, saveWeights, setWeights, type TfOptions } from "./weights.ts";
