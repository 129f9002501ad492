// The files that are read: made once, by Keras where there is a Python that has it.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { cacheFolder } from "../scripts/lib/run.mjs";

/** Change it when make_files.py writes something else, so that files of before are not taken for new ones. */
const edition = 1;

/** A Python with h5py: the one named by the caller, the oracle's, or whatever `python3` is. */
function python() {
  const oracle = spawnSync("sh", ["-c", `ls -d "${cacheFolder}"/oracle-*/bin/python`], { encoding: "utf8" });
  const candidates = [process.env["KERAS_WEIGHTS_PYTHON"], ...(oracle.stdout ?? "").split("\n"), "python3", "python"];
  return candidates.find((name) => name && spawnSync(name, ["-c", "import h5py"], { stdio: "ignore" }).status === 0);
}

async function writeOurselves(folder, size) {
  const { layers, sequential } = await import("keras-weights");
  const { units, count, many } =
    size === "full" ? { units: 2066, count: 30, many: 3000 } : { units: 1024, count: 15, many: 300 };
  const dense = (width, depth) => [layers.input([width]), ...Array.from({ length: depth }, () => layers.dense(width))];
  const save = async (name, width, depth) =>
    sequential(dense(width, depth), { flavor: "keras2" }).saveWeights(join(folder, `${name}.h5`), { overwrite: true });
  await save("contiguous", units, count);
  await save("many", 20, many);
  return { contiguous: "keras-weights (no Python with h5py was found)", many: "keras-weights" };
}

/** Paths of the files and who wrote them: `{ folder, writers: { contiguous, compressed?, many } }`. */
export async function benchFiles(size) {
  const folder = join(cacheFolder, "bench", `${size}-${edition}`);
  const record = join(folder, "writers.json");
  if (!existsSync(record)) {
    mkdirSync(folder, { recursive: true });
    console.log(`making the files in ${folder}`);
    const program = python();
    let writers;
    if (program === undefined) {
      writers = await writeOurselves(folder, size);
    } else {
      const script = new URL("make_files.py", import.meta.url).pathname;
      const made = spawnSync(program, [script, folder, size], { encoding: "utf8" });
      if (made.status !== 0) throw new Error(`make_files.py failed: ${made.stderr}`);
      writers = JSON.parse(made.stdout.trim().split("\n").at(-1));
    }
    writeFileSync(record, JSON.stringify(writers));
  }
  return { folder, writers: JSON.parse(readFileSync(record, "utf8")) };
}
