// Every container that weights are saved in, for tests that do the same to each.
import { readdirSync } from "node:fs";

import { layers, sequential, type Model, type SaveOptions } from "keras-weights";

/** One way to save weights. */
export interface Container {
  readonly name: string;
  /** What the path ends with. */
  readonly suffix: string;
  /** Whether it is a whole model. */
  readonly whole?: boolean;
  readonly options?: SaveOptions;
}

/** All of them; sharded ones in more than one shard. */
export const containers: readonly Container[] = [
  { name: "Keras 3 HDF5", suffix: ".weights.h5" },
  { name: "legacy HDF5", suffix: ".h5" },
  { name: "archive", suffix: ".keras", whole: true },
  { name: "sharded", suffix: ".weights.json", options: { maxShardBytes: 300_000 } },
  { name: "safetensors", suffix: ".safetensors" },
  { name: "npz", suffix: ".npz" },
  { name: "TensorFlow checkpoint", suffix: "" },
];

/** A model with weights of some hundred kilobytes. */
export function someModel(): Model {
  const dense = (name: string): ReturnType<typeof layers.dense> => layers.dense(256, { name });
  return sequential([layers.input([256]), dense("a"), dense("b")], { name: "m" });
}

/** Gives every value of a model one number. */
export function fill(model: Model, value: number): Model {
  model.setWeights(model.getWeights().map(({ size }) => new Float32Array(size).fill(value)));
  return model;
}

/** The numbers that there are among the values of a model. */
export function numbers(model: Model): number[] {
  return [...new Set(model.getWeights().flatMap(({ data }) => [...new Set(data as Float32Array)]))];
}

/** Saves into a container. */
export async function save(model: Model, path: string, { whole, options }: Container): Promise<void> {
  await (whole === true ? model.save(path) : model.saveWeights(path, options));
}

/** The files of a folder, without the state file of TensorFlow, in order. */
export function files(folder: string): string[] {
  return readdirSync(folder).sort();
}
