// Opens mutants in every way there is. Before each one its number is written to stdout, so that whoever watches knows
// which one ended the process or does not end; behind each one what came of it.
//
//   mutants.mjs <format> <seed> <from> <to> <folder>
import { mkdirSync, readFileSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { dirname, join } from "node:path";
import { setImmediate as turn } from "node:timers/promises";

import { isWeightsError, loadModel, modelFromConfig, openWeights } from "keras-weights";

import { mutate } from "../mutation.mjs";
import { Random } from "../random.mjs";
import { formats } from "../seeds.mjs";

const [format, seed, from, to, folder] = process.argv.slice(2);
const { seeds: find, repair } = formats[format];
const seeds = find();

/** Kilobytes that this process holds, and the most it held since the last call of `forget`. */
function memory() {
  const status = readFileSync("/proc/self/status", "latin1");
  return { now: Number(/VmRSS:\s+(\d+)/u.exec(status)[1]), most: Number(/VmHWM:\s+(\d+)/u.exec(status)[1]) };
}
const forget = () => writeFileSync("/proc/self/clear_refs", "5");
const measured = process.platform === "linux";

function write(files) {
  // Removed and not overwritten: pages of the one before may still be mapped.
  rmSync(folder, { recursive: true, force: true });
  for (const [name, bytes] of files) {
    const path = join(folder, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, bytes);
  }
  mkdirSync(folder, { recursive: true });
}

/** Looks at everything in a file; the first error ends it, except for those of single tensors. */
async function look(source, options) {
  const file = await openWeights(source, options);
  let refused;
  for (const group of file.groups()) file.attributes(group);
  for (const { path, dtype } of file.entries()) {
    file.attributes(path);
    if (dtype === "string") continue;
    try {
      await file.read(path);
    } catch (error) {
      refused = error;
    }
  }
  try {
    await file.verify();
  } catch (error) {
    refused = error;
  }
  file.close();
  if (refused !== undefined) throw refused;
}

/** Every way in which this seed may be used. */
function uses({ open, files, config }) {
  const path = join(folder, open);
  const quiet = { onWarning: () => undefined };
  const list = [() => look(path, {}), () => look(path, { access: "copy", verify: "load" })];
  if (files.size === 1) list.push(() => look(readFileSync(path), { verify: "off" }));
  if (format === "keras" || format === "whole-h5") list.push(() => loadModel(path, quiet));
  if (config !== undefined && format !== "keras" && format !== "npz") {
    list.push(() => modelFromConfig(config).loadWeights(path, { ...quiet, byName: format === "legacy-h5" }));
    list.push(() => modelFromConfig(config).loadWeights(path, quiet));
  }
  return list;
}

/** `ok`, the code of an error of ours, or the name of any other error, with its text. */
async function outcome(use) {
  try {
    await use();
    return ["ok"];
  } catch (error) {
    if (isWeightsError(error) && error.code !== "ERR_WEIGHTS_INTERNAL") return [error.code];
    return [error.code ?? error.name, String(error.stack).slice(0, 2000)];
  }
}

// What a file that is whole needs once is not held against the first mutant.
for (const intact of seeds) {
  write(intact.files);
  for (const use of uses(intact)) await outcome(use);
}

for (let n = Number(from); n < Number(to); n++) {
  writeSync(1, `${n}\n`);
  const random = new Random(`${format} ${seed} ${n}`);
  const chosen = random.of(seeds);
  write(mutate(random, chosen.files, repair));
  const list = uses(chosen);
  const use = random.below(list.length);
  const before = measured ? (forget(), memory().now) : 0;
  const [result, detail] = await outcome(list[use]);
  const grown = measured ? Math.max(0, memory().most - before) : 0;
  writeSync(1, `${JSON.stringify({ n, seed: chosen.id, use, result, detail, kilobytes: grown })}\n`);
  if (n % 64 === 0) {
    gc();
    await turn();
  }
}
