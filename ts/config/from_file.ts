import { openWeightsSync, WeightsFile } from "../io/open.ts";
import type { Source } from "../io/source.ts";
import { fail } from "../model/failure.ts";
import type { Model } from "../model/model.ts";
import { modelFromConfig, type ConfigOptions } from "./read.ts";

interface Texts {
  readonly modelConfig: string | null;
  readonly kerasVersion: string | null;
}

/**
 * The model whose config a whole-model file (`.h5` or `.keras`, by `model.save`) holds: its structure, without the weights.
 *
 * ```ts
 * const model = modelFromWeights("whole.h5");
 * await model.loadWeights("whole.h5");
 * ```
 *
 * @throws ERR_WEIGHTS_CONFIG when the file holds weights only; what opening throws.
 */
export function modelFromWeights(file: WeightsFile | Source, options: ConfigOptions = {}): Model {
  if (file instanceof WeightsFile) return read(file, options);
  const opened = openWeightsSync(file);
  try {
    return read(opened, options);
  } finally {
    opened.close();
  }
}

function read(file: WeightsFile, options: ConfigOptions): Model {
  const { modelConfig, kerasVersion } = JSON.parse(file.wholeModel()) as Texts;
  if (modelConfig === null) {
    return fail("ERR_WEIGHTS_CONFIG", "the file holds no model config: it has weights alone", { format: file.format });
  }
  const versioned = kerasVersion === null ? {} : { keras_version: kerasVersion };
  return modelFromConfig({ ...versioned, model_config: modelConfig }, options);
}
