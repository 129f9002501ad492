// The files that mutants are made of: small ones by real Keras, TensorFlow, numpy and safetensors.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";

const fixtures = fileURLToPath(new URL("../fixtures/", import.meta.url));

/** Larger files only make fewer mutants a second. */
const largest = 60_000;

/**
 * What is opened, and the files that belong to it, by name beside it.
 * @typedef {{ id: string, open: string, files: Map<string, Buffer>, config?: string }} Seed
 */

function below(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? below(path) : [path];
  });
}

const all = below(fixtures)
  .filter((path) => !path.includes("/generate/"))
  .sort()
  .map((path) => relative(fixtures, path));

/** The config beside a file of weights; with it the file is also loaded into its model. */
function configBeside(id) {
  const path = join(dirname(id), "config.json");
  return all.includes(path) ? readFileSync(join(fixtures, path), "utf8") : undefined;
}

function single(pattern) {
  return all
    .filter((id) => pattern.test(id) && statSync(join(fixtures, id)).size <= largest)
    .map((id) => {
      const open = id.slice(id.lastIndexOf("/") + 1);
      return { id, open, files: new Map([[open, readFileSync(join(fixtures, id))]]), config: configBeside(id) };
    });
}

/** A seed of several files: those in `folder` that match, one of which (or their common prefix) is opened. */
function several(folder, open, pattern = /./u) {
  const names = all.filter((id) => id.startsWith(`${folder}/`)).map((id) => id.slice(folder.length + 1));
  const files = names.filter((name) => pattern.test(name)).map((name) => [name, readFileSync(join(fixtures, folder, name))]); // prettier-ignore
  return { id: `${folder}/${open}`, open, files: new Map(files), config: configBeside(folder) };
}

const foldersWith = (name) => all.filter((id) => id.endsWith(name)).map((id) => id.slice(0, -name.length - 1));

/** By format: its seeds, and which checksums its files have. */
export const formats = {
  "legacy-h5": { seeds: () => single(/\/k2\/weights\.h5$|legacy_weights\.h5$|^_keras1\/[^/]*\.h5$/u), repair: {} },
  "keras3-h5": { seeds: () => single(/\.weights\.h5$/u), repair: {} },
  "whole-h5": { seeds: () => single(/full\.h5$/u), repair: {} },
  "rare-hdf5": { seeds: () => single(/^hdf5_kinds\/.*\.h5$/u), repair: { ".h5": "hdf5" } },
  keras: { seeds: () => single(/\.keras$/u), repair: { ".keras": "zip" } },
  sharded: {
    seeds: () => [several("_broken", "k3_shard.weights.json", /^k3_shard/u)],
    repair: {},
  },
  bundle: {
    seeds: () => [
      ...foldersWith("w.index").map((folder) => several(folder, "w", /^w\./u)),
      ...["dtypes", "merged", "sharded", "sliced"].map((name) =>
        several("_tf", name, new RegExp(`^${name}\\.(?:index|data)`, "u")),
      ),
    ],
    repair: { ".index": "table" },
  },
  "saved-model": {
    seeds: () => foldersWith("variables/variables.index").map((folder) => several(folder, ".", /^variables\//u)),
    repair: { ".index": "table" },
  },
  safetensors: {
    seeds: () => [
      ...single(/\.safetensors$/u),
      several("_arrays", "model.safetensors.index.json", /^model.*safetensors/u),
    ],
    repair: {},
  },
  npz: { seeds: () => single(/\.npz$/u), repair: { ".npz": "zip" } },
};
