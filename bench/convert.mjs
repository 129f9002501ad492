// Converts one large legacy .h5 into every other format and measures how much memory each conversion took.
//
//   npm run bench -- convert               4 GB
//   npm run bench -- convert --size 0.5    another size, in GB
//   npm run bench -- convert --json FILE   writes every measurement
//
// The file is made on the spot, by us, from one array that stands for the kernels of all layers. Each conversion runs in a
// fresh process, and its output is compared with the input and removed. Memory is what the process held at most (VmHWM on
// Linux, which counts mapped pages of files too) above what it held before the conversion began.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { cacheFolder } from "../scripts/lib/run.mjs";

/** Outputs: name, and what `convert` is told beside the model. */
const targets = [
  ["legacy_h5", "out.h5", {}],
  ["keras3_h5", "out.weights.h5", {}],
  ["keras", "out.keras", {}],
  ["sharded", "out.weights.json", { maxShardSize: 1 }],
  ["safetensors", "out.safetensors", {}],
  ["safetensors, sharded", "out.safetensors.index.json", { maxShardSize: 1 }],
  ["safetensors, bfloat16", "half.safetensors", { dtype: "bfloat16" }],
  ["npz", "out.npz", {}],
  ["tf_checkpoint", "out", {}],
  ["tf_checkpoint, sharded", "parts", { maxShardSize: 1 }],
  ["tfjs_layers", "model.json", {}],
];

/** Most that a conversion may hold beside what the process held before: docs/ARCHITECTURE.md's budget. */
const budget = 128 << 20;
const units = 4096;
const kernel = units * units * 4;

const thisFile = fileURLToPath(import.meta.url);
const megabytes = (bytes) => (bytes / 1e6).toFixed(0);

async function denseModel(count) {
  const { layers, sequential } = await import("keras-weights");
  return sequential([layers.input([units]), ...Array.from({ length: count }, () => layers.dense(units))], {
    flavor: "keras2",
    name: "large",
  });
}

/** `count` layers whose kernels are one array. */
async function make(path, count) {
  const { describe, saveWeights } = await import("keras-weights");
  const described = describe(await denseModel(count));
  const values = Float32Array.from({ length: units * units }, (_, k) => Math.sin(k));
  const variables = described.variables.map(({ path, shape }) => {
    const size = shape.reduce((product, axis) => product * axis, 1);
    return { path, version: 0, read: () => values.subarray(0, size) };
  });
  await saveWeights({ ...described, variables }, path);
}

/** Bytes in memory now and at most so far. */
function memory() {
  let status;
  try {
    status = readFileSync("/proc/self/status", "utf8");
  } catch {
    return { now: process.memoryUsage.rss(), most: process.resourceUsage().maxRSS * 1024 };
  }
  const of = (name) => Number(new RegExp(`^${name}:\\s*(\\d+) kB`, "mu").exec(status)[1]) * 1024;
  return { now: of("VmRSS"), most: of("VmHWM") };
}

/** One conversion: `node convert.mjs --one <input> <output> <layers> <options>`. */
async function one(input, output, count, options) {
  const { convert } = await import("keras-weights");
  const config = await denseModel(count);
  try {
    // The most so far counts from here on.
    writeFileSync("/proc/self/clear_refs", "5");
  } catch {
    // Only Linux has it; elsewhere what the start took is in the figure.
  }
  const { now } = memory();
  const clock = performance.now();
  const report = await convert(input, output, { ...options, config });
  const milliseconds = performance.now() - clock;
  return { ...report, milliseconds, before: now, growth: memory().most - now };
}

/** Whether some tensors of the output are those of the input. */
async function compare(input, output, count, halved) {
  const { openWeights } = await import("keras-weights");
  const [one, two] = [await openWeights(input), await openWeights(output)];
  const numbers = (file) => file.entries().filter(({ dtype }) => dtype !== "string");
  if (numbers(two).length !== 2 * count) return false;
  for (const { path, shape } of numbers(two).filter((_, index) => index % 61 === 0)) {
    const wanted = await one.read(one.entries().find((entry) => entry.shape.join() === shape.join()).path);
    const found = (await two.read(path)).toFloat32();
    const near = (value, k) => Math.abs(value - found[k]) <= (halved ? Math.abs(value) / 256 : 0);
    if (!wanted.data.every(near)) return false;
  }
  one.close();
  two.close();
  return true;
}

/** Makes the file, converts it into everything, prints and returns the measurements; true when all was well. */
export async function benchConvert({ size = 4, json } = {}) {
  const folder = join(cacheFolder, "bench", `convert-${process.pid}`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  try {
    const count = Math.max(1, Math.round((size * 1e9) / kernel));
    const input = join(folder, "in.h5");
    await make(input, count);
    const bytes = statSync(input).size;
    console.log(
      `legacy .h5 of ${megabytes(bytes)} MB, ${count} Dense layers; at most ${megabytes(budget)} MB above the start`,
    );
    console.log(
      `${"".padEnd(24)}${["s", "MB/s", "before MB", "growth MB", ""].map((cell) => cell.padStart(12)).join("")}`,
    );
    const results = [];
    for (const [name, file, options] of targets) {
      const output = join(folder, name.replaceAll(/\W+/gu, "-"), file);
      mkdirSync(join(output, ".."));
      const args = [thisFile, "--one", input, output, String(count), JSON.stringify(options)];
      const child = spawnSync(process.execPath, args, { encoding: "utf8" });
      if (child.status !== 0) throw new Error(`${name}: ${child.stderr}`);
      const measured = JSON.parse(child.stdout.trim().split("\n").at(-1));
      const equal = await compare(input, measured.path, count, options.dtype !== undefined);
      rmSync(join(output, ".."), { recursive: true });
      const ok = equal && measured.growth <= budget;
      const seconds = measured.milliseconds / 1000;
      const cells = [
        seconds.toFixed(1),
        megabytes(bytes / seconds),
        megabytes(measured.before),
        megabytes(measured.growth),
      ];
      const verdict = ok ? "" : equal ? "TOO MUCH" : "OTHER VALUES";
      console.log(`${name.padEnd(24)}${[...cells, verdict].map((cell) => cell.padStart(12)).join("")}`);
      results.push({ name, seconds, before: measured.before, growth: measured.growth, ok });
    }
    if (json !== undefined) {
      const text = JSON.stringify(
        { date: new Date().toISOString(), node: process.version, bytes, budget, results },
        null,
        1,
      );
      writeFileSync(json, `${text}\n`);
    }
    return results.every(({ ok }) => ok);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

if (process.argv[2] === "--one") {
  const [input, output, count, options] = process.argv.slice(3);
  console.log(JSON.stringify(await one(input, output, Number(count), JSON.parse(options))));
}
