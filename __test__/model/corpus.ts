import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import type { Flavor } from "../../ts/model/flavor.ts";
import type { ModelTree } from "../../ts/model/tree.ts";

export const own = fileURLToPath(new URL("../fixtures", import.meta.url));
const beside = fileURLToPath(new URL("../../../shared/corpus", import.meta.url));
const given = process.env["KERAS_WEIGHTS_CORPUS"];

/** The large corpus where it is, else the project's own part of it. */
export const corpus = [given ?? beside].find((path) => existsSync(path)) ?? own;

/** A weight as Keras recorded it. */
export interface ExpectedWeight {
  readonly name: string;
  readonly path: string | null;
  readonly shape: number[];
  readonly dtype: string;
  readonly trainable: boolean;
}

/** A model as Keras recorded it. */
export interface ExpectedModel {
  readonly model_name: string;
  readonly get_weights: ExpectedWeight[];
  readonly layers: { readonly name: string; readonly class: string; readonly weights: string[] }[];
}

/** One recorded model of one flavour. */
export interface CorpusModel {
  readonly id: string;
  readonly name: string;
  readonly flavor: Flavor;
  readonly folder: string;
}

/** Every recorded model that has a file of a name. */
export function corpusModels(file: string): CorpusModel[] {
  const models: CorpusModel[] = [];
  for (const name of readdirSync(corpus)) {
    for (const [short, flavor] of [
      ["k2", "keras2"],
      ["k3", "keras3"],
    ] as const) {
      const folder = `${corpus}/${name}/${short}`;
      if (existsSync(`${folder}/${file}`)) models.push({ id: `${name}.${short}`, name, flavor, folder });
    }
  }
  if (models.length === 0) throw new Error(`no models with ${file} in ${corpus}`);
  return models;
}

/** A JSON file. */
export function readJson(path: string): unknown {
  return JSON.parse(readFileSync(path, "utf8"));
}

/** The tree that Keras' live objects gave, if it was recorded. */
export function goldenTree(id: string): ModelTree | undefined {
  const path = `${own}/trees/${id}.json`;
  return existsSync(path) ? (readJson(path) as ModelTree) : undefined;
}
