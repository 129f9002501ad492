// Every way in which weights are saved, with values that tell which save they came from.
import { readdirSync } from "node:fs";
import { join } from "node:path";

import { layers, loadModel, openWeights, sequential } from "keras-weights";

/** Units of each layer: a kernel of 256 KB. */
const units = 256;

function makeModel(flavor) {
  const items = [layers.input([units])];
  for (let k = 0; k < 6; k++) items.push(layers.dense(units, { name: `dense_${k}` }));
  return sequential(items, { flavor, name: "model" });
}

const pieces = (kilobytes) => ({ maxShardBytes: kilobytes << 10 });

/** By name: what is opened, the flavour of the model, how it is saved. */
export const kinds = {
  keras3_h5: { open: "w.weights.h5", flavor: "keras3", save: (model, path) => model.saveWeights(path) },
  legacy_h5: { open: "w.h5", flavor: "keras2", save: (model, path) => model.saveWeights(path) },
  whole_h5: { open: "m.h5", flavor: "keras2", whole: true, save: (model, path) => model.save(path) },
  keras: { open: "m.keras", flavor: "keras3", whole: true, save: (model, path) => model.save(path) },
  sharded_1: { open: "w.weights.json", flavor: "keras3", save: (model, path) => model.saveWeights(path, pieces(16_384)) }, // prettier-ignore
  sharded_4: { open: "w.weights.json", flavor: "keras3", save: (model, path) => model.saveWeights(path, pieces(512)) },
  tf_checkpoint_1: { open: "w", flavor: "keras2", save: (model, path) => model.saveWeights(path) },
  tf_checkpoint_4: { open: "w", flavor: "keras2", save: (model, path) => model.saveWeights(path, pieces(512)) },
  safetensors: { open: "w.safetensors", flavor: "keras3", save: (model, path) => model.saveWeights(path) },
  npz: { open: "w.npz", flavor: "keras3", save: (model, path) => model.saveWeights(path) },
};

/** Saves one generation after the other; every value of a generation is its number. */
export class Saver {
  #kind;
  #model;
  #path;

  constructor(name, folder) {
    this.#kind = kinds[name];
    this.#model = makeModel(this.#kind.flavor);
    this.#path = join(folder, this.#kind.open);
  }

  async save(generation) {
    this.#model.setWeights(this.#model.getWeights().map(({ data }) => new Float32Array(data.length).fill(generation)));
    await this.#kind.save(this.#model, this.#path);
  }
}

/** The generation of what is in a folder. Throws unless everything is whole and of one generation. */
export async function generationOf(name, folder) {
  const { open, whole } = kinds[name];
  const path = join(folder, open);
  const file = await openWeights(path, { verify: "load", access: "copy" });
  const found = new Set();
  let tensors = 0;
  for (const entry of file.entries()) {
    if (entry.dtype !== "float32") continue;
    const { data } = await file.read(entry.path);
    for (const value of data) found.add(value);
    tensors += 1;
  }
  file.close();
  if (tensors !== 12) throw new Error(`${tensors} tensors instead of 12`);
  if (whole) for (const { data } of (await loadModel(path)).getWeights()) found.add(data[0]);
  if (found.size !== 1) throw new Error(`values of generations ${[...found].join(", ")} in one checkpoint`);
  return [...found][0];
}

/** The names in a folder, sorted. */
export function namesIn(folder) {
  return readdirSync(folder).sort();
}
