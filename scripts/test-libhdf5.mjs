// Our HDF5 reader and writer against libhdf5, on every .h5 file of the repository (and of KERAS_WEIGHTS_CORPUS).
// Optional: it needs the C library, which the package itself never does.
import { existsSync } from "node:fs";
import { join } from "node:path";

import { output, root, run } from "./lib/run.mjs";

const found =
  process.env["HDF5_DIR"] !== undefined ||
  ["hdf5", "hdf5-serial"].some((name) => output("pkg-config", ["--exists", name]) !== undefined);
if (!found) {
  console.error(
    "libhdf5 was not found, so nothing was compared. Install it (Debian and Ubuntu: apt-get install libhdf5-dev; " +
      "macOS: brew install hdf5) or set HDF5_DIR.",
  );
  process.exit(2);
}

const corpus = process.env["KERAS_WEIGHTS_CORPUS"];
const folders = [join(root, "__test__", "fixtures"), join(root, "examples", "digits", "data"), corpus];
run("cargo", [
  ...["run", "--quiet", "--manifest-path", "crates/hdf5-judge/Cargo.toml", "--"],
  ...folders.filter((folder) => folder !== undefined && existsSync(folder)),
]);
