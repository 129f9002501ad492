import { writeLegacyModel } from "../config/legacy.ts";
import { pythonJson } from "../config/python_json.ts";
import { writeArchiveModel } from "../config/write.ts";
import { fail } from "../model/failure.ts";
import type { Model } from "../model/model.ts";
import { saveTarget } from "../model/unknown.ts";
import { requireTranslation } from "../tfjs/translate.ts";
import { saveFrom, saveFromSync, type SaveOptions, type SaveReport, type SaveSyncOptions } from "./save.ts";
import type { SaveContents, Whole, WholeTexts } from "./save.ts";
import { pathOf } from "./source.ts";

/** How to save a whole model, without waiting. `saveFormat` is `"keras"`, `"h5"` or `"tfjs"`. */
export type SaveModelSyncOptions = SaveSyncOptions;

/** How to save a whole model. `saveFormat` is `"keras"`, `"h5"` or `"tfjs"`. */
export type SaveModelOptions = SaveOptions;

type WholeFormat = "archive" | "legacy_h5" | "tfjs_layers";

const formats: Readonly<Record<string, WholeFormat>> = {
  keras: "archive",
  h5: "legacy_h5",
  hdf5: "legacy_h5",
  legacy_h5: "legacy_h5",
  archive: "archive",
  tfjs: "tfjs_layers",
  tfjs_layers: "tfjs_layers",
  "model.json": "tfjs_layers",
};

function known(path: string, saveFormat: string | undefined): WholeFormat | undefined {
  return formats[
    saveFormat ??
      /(?:(?<!\.weights)\.(keras|h5|hdf5)|(?:^|[\\/])(model\.json))$/u.exec(path)?.slice(1).find(Boolean) ??
      ""
  ];
}

/** Whether a conversion to `path` makes a whole model; `asked` and `fallback` are for formats that leave a choice. */
export function isWhole(
  path: string,
  saveFormat: string | undefined,
  asked: boolean | undefined,
  fallback: boolean,
): boolean {
  const format = known(path, saveFormat);
  if (format === undefined || format === "archive") return format === "archive";
  return asked ?? (format === "tfjs_layers" || fallback);
}

function formatOf(path: string, saveFormat: string | undefined): WholeFormat {
  const format = known(path, saveFormat);
  if (format !== undefined) return format;
  const what = saveFormat === undefined ? `the name ${path}` : `saveFormat ${JSON.stringify(saveFormat)}`;
  return fail("ERR_WEIGHTS_FORMAT", `${what} is of no format for whole models: there are .keras, .h5 and model.json`, {
    file: path,
  });
}

/** Keras asks a class for its config; only a class that is registered can be made from it again. */
function needConfig(model: Model, format: WholeFormat): void {
  if (model.kind !== "model") return;
  if (model.givesConfig() && !(format === "legacy_h5" && model.flavor === "keras2")) return;
  fail(
    "ERR_WEIGHTS_CONFIG",
    `"${model.name}" is of the class ${model.className}, which no config describes: use saveWeights(), or give the ` +
      "class a getConfig()",
    { layer: model.name },
  );
}

function wholeOf(
  model: Model,
  path: string,
  { saveFormat: wanted, includeOptimizer = true }: SaveContents,
): { whole: Whole; saveFormat: WholeFormat } {
  const saveFormat = formatOf(path, wanted);
  needConfig(model, saveFormat);
  model.needBuilt();
  const compilation = includeOptimizer ? model.compilation : undefined;
  if (saveFormat === "tfjs_layers") {
    const { topology } = requireTranslation(model.toJSON(), { flavor: model.flavor });
    return { whole: { texts: { modelConfig: JSON.stringify(topology) }, assets: [] }, saveFormat };
  }
  if (saveFormat === "archive") {
    const config = writeArchiveModel(model, compilation?.compileConfig());
    const texts = { modelConfig: pythonJson(config), dateSaved: now() };
    return { whole: { texts, assets: model.assets }, saveFormat };
  }
  const trainingConfig = compilation && pythonJson(compilation.trainingConfig());
  const texts = { modelConfig: pythonJson(writeLegacyModel(model)), trainingConfig };
  return { whole: { texts, assets: [] }, saveFormat };
}

/** The texts of a whole-model file. */
export function wholeTexts(model: Model, path: string, contents: SaveContents): WholeTexts {
  return wholeOf(model, path, contents).whole.texts;
}

/** The local time in the form of `metadata.json`. */
function now(): string {
  const date = new Date();
  const two = (value: number): string => String(value).padStart(2, "0");
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()].map(two).join("-");
  return `${day}@${[date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(":")}`;
}

/** `model.save`: config, weights and optimizer in one file. */
export async function saveModel(
  model: Model,
  destination: string | URL,
  options: SaveModelOptions = {},
): Promise<SaveReport> {
  const { whole, saveFormat } = wholeOf(model, pathOf(destination), options);
  return saveFrom(saveTarget(model), destination, { ...options, saveFormat }, whole);
}

/** {@link saveModel}, here and now. */
export function saveModelSync(model: Model, destination: string | URL, options: SaveModelSyncOptions = {}): SaveReport {
  const { whole, saveFormat } = wholeOf(model, pathOf(destination), options);
  return saveFromSync(saveTarget(model), destination, { ...options, saveFormat }, whole);
}
