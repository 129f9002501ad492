export { latestCheckpoint, type LatestCheckpoint, type SavedCheckpoint } from "./callbacks/checkpoint-state.ts";
export { ModelCheckpoint, type CallbackWarning, type CheckpointModel } from "./callbacks/model-checkpoint.ts";
export type { Logs, ModelCheckpointOptions } from "./callbacks/model-checkpoint.ts";
export type { MetricLike, MonitorMode } from "./callbacks/monitor.ts";
export { modelFromWeights } from "./config/from_file.ts";
export { modelFromConfig, type ConfigOptions } from "./config/read.ts";
export type { Json, JsonObject } from "./config/json.ts";
export { errorCodes, isWeightsError, WeightsError } from "./errors.ts";
export type { WeightsErrorCode, WeightsErrorDetail, WeightsErrorFields } from "./errors.ts";
export type { Initializer, InitializerSetting } from "./initializers.ts";
export { convert, convertSync } from "./io/convert.ts";
export type { ConvertOptions, ConvertReport, ConvertSyncOptions } from "./io/convert.ts";
export type { JobOptions, Progress } from "./io/job.ts";
export type { CheckpointOptions } from "./io/checkpoint_options.ts";
export type { LoadOptions, LoadReport, LoadSyncOptions, SkippedLayer } from "./io/load.ts";
export { openWeights, openWeightsSync, verifyWeights, WeightsFile } from "./io/open.ts";
export type { Attribute, OpenOptions, TensorEntry, VerifyReport } from "./io/open.ts";
export { loadModel, loadModelSync, type LoadModelOptions, type LoadModelSyncOptions } from "./io/load_model.ts";
export type { Overwrite, OverwriteSync } from "./io/overwrite.ts";
export type { SaveContents, SaveOptions, SaveReport, SaveSyncOptions } from "./io/save.ts";
export type { SaveModelOptions, SaveModelSyncOptions } from "./io/save_model.ts";
export type { Limits, ReadOptions, Source } from "./io/source.ts";
export type { HeldVariable, Target } from "./io/target.ts";
export { loadWeights, loadWeightsSync, saveWeights, saveWeightsSync } from "./io/verbs.ts";
export type { WeightsWarning } from "./io/warning.ts";
export { defineLayer, weight } from "./layers/definition.ts";
export type { LayerContext, LayerDefinition, Part, ShapeContext, WeightSpec } from "./layers/definition.ts";
export { DeclaredLayer, type CommonOptions } from "./layers/declared.ts";
export { factory, type LayerFactory } from "./layers/factory.ts";
export * as fields from "./layers/fields.ts";
export { layers } from "./layers/index.ts";
export { registerLayer, type LayerClass } from "./layers/registry.ts";
export type { Flavor } from "./model/flavor.ts";
export { Functional, model, type FunctionalOptions } from "./model/functional.ts";
export { InputLayer, type InputOptions } from "./model/input_layer.ts";
export { Layer, type LayerOptions, type WeightOptions } from "./model/layer.ts";
export { Model, type ModelOptions } from "./model/model.ts";
export { clearSession } from "./model/naming.ts";
export { Sequential, sequential, type SequentialItem } from "./model/sequential.ts";
export { knownDim, type Dim, type Shape, type ShapeStructure } from "./model/shape.ts";
export type { Structure } from "./model/structure.ts";
export type { SummaryOptions } from "./model/summary.ts";
export { Symbolic, type CallArgument } from "./model/symbolic.ts";
export { describe, modelTreeVersion } from "./model/tree.ts";
export type { TreeEdge, TreeTrackable } from "./model/trackables.ts";
export { Optimizer, type OptimizerSetting } from "./optimizers/optimizer.ts";
export type {
  DescribeOptions,
  Description,
  ModelTree,
  TreeAttribute,
  TreeNode,
  TreeTracked,
  TreeVariable,
} from "./model/tree.ts";
export { Variable } from "./model/variable.ts";
export { setRandomSeed } from "./random.ts";
export { dtypes, isDType, isTensor, Tensor, tensor } from "./tensor.ts";
export type { DType, RawArray, RawArrayOf, TensorDType, TypedArray } from "./tensor.ts";
export type { CompileOptions } from "./training/compilation.ts";
