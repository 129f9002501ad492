/** Real files by real Kerases, and what those Kerases said about them. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync, readdirSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const fixtures = resolve(here, "../fixtures");
const beside = process.env["KERAS_WEIGHTS_CORPUS"] ?? resolve(here, "../../../shared/corpus");

/** True where the large corpus is; without it the repository's own subset serves. */
export const hasFullCorpus = existsSync(join(beside, "mnist_dense"));

/** The folder of files in use. */
export const corpusRoot = hasFullCorpus ? beside : fixtures;

if (!hasFullCorpus) {
  process.stderr.write("the large corpus is absent: the repository's own fixtures are used\n");
}

export type Flavor = "keras2" | "keras3";

/** One weight as Keras described it; `sha256` is over the raw little-endian bytes. */
export interface ExpectedWeight {
  index: number;
  name: string;
  path: string | null;
  shape: number[];
  dtype: string;
  trainable: boolean;
  sha256: string;
}

export interface Expected {
  get_weights: ExpectedWeight[];
  trainable_weights?: string[];
  non_trainable_weights?: string[];
  layers?: { name: string; class: string; trainable: boolean; weights: string[]; legacy_order: string[] }[];
}

/** A folder with the files of one model by one Keras. */
export interface Sample {
  /** Folder below the corpus, such as `mnist_dense/k3`. */
  id: string;
  model: string;
  flavor: Flavor;
  /** "3.15", "tf_keras", "2.12" or "3.0.5". */
  writer: "keras-3.15" | "tf_keras" | "keras-2.12" | "keras-3.0.5";
  folder: string;
}

export function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** Every model folder, those of older releases too. */
export function samples(): Sample[] {
  const found: Sample[] = [];
  const add = (id: string, model: string, flavor: Flavor, writer: Sample["writer"]) => {
    const folder = join(corpusRoot, id);
    if (existsSync(join(folder, "expected.json"))) found.push({ id, model, flavor, writer, folder });
  };
  for (const model of readdirSync(corpusRoot).sort()) {
    if (model.startsWith("_")) continue;
    add(`${model}/k3`, model, "keras3", "keras-3.15");
    add(`${model}/k2`, model, "keras2", "tf_keras");
  }
  for (const [release, flavor] of [
    ["keras-2.12", "keras2"],
    ["keras-3.0.5", "keras3"],
  ] as const) {
    const folder = join(corpusRoot, "_old", release);
    if (!existsSync(folder)) continue;
    for (const model of readdirSync(folder).sort()) add(`_old/${release}/${model}`, model, flavor, release);
  }
  return found;
}

export function expectedOf(sample: Sample): Expected {
  return readJson(join(sample.folder, "expected.json")) as Expected;
}

/** The model's config as Keras wrote it; subclassed models have none that says anything. */
export function configOf(sample: Sample): object | undefined {
  const path = join(sample.folder, "config.json");
  return existsSync(path) ? (readJson(path) as object) : undefined;
}

/** The files of an HDF5 kind in a model's folder. */
export function hdf5Files(sample: Sample): string[] {
  return readdirSync(sample.folder)
    .filter((name) => name.endsWith(".h5"))
    .sort();
}

export function sha256(data: ArrayBufferView): string {
  return createHash("sha256")
    .update(new Uint8Array(data.buffer, data.byteOffset, data.byteLength))
    .digest("hex");
}

/** Keras merges LoRA matrices into the kernels of a .weights.h5: such a file does not bring all weights back. */
export const mergesOnSaving = (sample: Sample): boolean => sample.model.startsWith("lora");

/** Kinds that Keras itself can read back, whoever wrote the file (status.json of the corpus says so). */
export function readable(sample: Sample, kind: "v3" | "legacy"): boolean {
  if (sample.model === "pure_bfloat16") return sample.flavor === "keras3" && kind === "v3";
  if (sample.model === "functional_with_attrs" && sample.flavor === "keras3") return kind === "v3";
  if (sample.model === "subclassed") return kind === "v3" || sample.flavor === "keras3";
  return true;
}

/** A file of the sample that holds every weight: an HDF5 file, or the archive where there is no other. */
export function completeFile(sample: Sample): string {
  const files = hdf5Files(sample);
  const archive = readdirSync(sample.folder).find((file) => file.endsWith(".keras"));
  const name = files.find((file) => file.endsWith(".weights.h5") && !mergesOnSaving(sample)) ?? files[0] ?? archive;
  if (name === undefined) throw new Error(`${sample.id} has neither an HDF5 file nor an archive`);
  return join(sample.folder, name);
}
