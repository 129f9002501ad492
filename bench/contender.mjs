// One contender reads one file in a process of its own: node contender.mjs <name> <file>. Prints one line of JSON.
//
// Timed: `init` (import, wasm start), `open` (open and list), `load` (all values in Float32Arrays, or views of them),
// `sum` (adding every value up, where the contender does). The check and its memory come after the clock and after
// the peak memory was taken.
import { readFileSync } from "node:fs";

const contenders = {
  /** The floor: the bytes of the file in one buffer, whatever they mean. */
  "fs.readFileSync": async (file) => {
    const clock = start();
    clock.lap("init");
    clock.lap("open");
    const bytes = readFileSync(file);
    clock.lap("load");
    return { clock, arrays: undefined, bytes };
  },
  "fs.readFileSync + sum": async (file) => {
    const { clock, bytes } = await contenders["fs.readFileSync"](file);
    sum([new Float32Array(bytes.buffer, bytes.byteOffset, Math.floor(bytes.byteLength / 4))]);
    clock.lap("sum");
    return { clock, arrays: undefined };
  },
  "ours, views": (file) => ours(file, "map"),
  "ours, views + sum": async (file) => {
    const { clock, arrays } = await ours(file, "map");
    sum(arrays);
    clock.lap("sum");
    return { clock, arrays };
  },
  "ours, copied": (file) => ours(file, "copy"),
  "h5wasm, Node FS": async (file) => {
    const clock = start();
    const h5wasm = await import("h5wasm/node");
    await h5wasm.ready;
    clock.lap("init");
    const opened = new h5wasm.File(file, "r");
    const datasets = [];
    const walk = (group) => {
      for (const name of group.keys()) {
        const child = group.get(name);
        if (child instanceof h5wasm.Dataset) datasets.push(child);
        else walk(child);
      }
    };
    walk(opened);
    clock.lap("open");
    const arrays = datasets.map((dataset) => dataset.value);
    opened.close();
    clock.lap("load");
    return { clock, arrays };
  },
  jsfive: async (file) => {
    const clock = start();
    const hdf5 = await import("jsfive");
    clock.lap("init");
    const bytes = readFileSync(file);
    const opened = new hdf5.File(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength), file);
    const datasets = [];
    const walk = (group) => {
      for (const name of group.keys) {
        const child = group.get(name);
        if (child instanceof hdf5.Dataset) datasets.push(child);
        else walk(child);
      }
    };
    walk(opened);
    clock.lap("open");
    const arrays = datasets.map((dataset) => Float32Array.from(dataset.value));
    clock.lap("load");
    return { clock, arrays };
  },
};

async function ours(file, access) {
  const clock = start();
  const { openWeights } = await import("keras-weights");
  clock.lap("init");
  const opened = await openWeights(file, { access, verify: "off" });
  const paths = [...opened.entries()].map((entry) => entry.path);
  clock.lap("open");
  const arrays =
    access === "map"
      ? paths.map((path) => opened.get(path).data)
      : await Promise.all(paths.map(async (path) => (await opened.read(path)).data));
  clock.lap("load");
  opened.close();
  return { clock, arrays };
}

function start() {
  const laps = { init: 0, open: 0, load: 0, sum: 0 };
  let last = performance.now();
  return {
    laps,
    lap(name) {
      const now = performance.now();
      laps[name] += now - last;
      last = now;
    },
  };
}

function sum(arrays) {
  let total = 0;
  for (const array of arrays) for (let index = 0; index < array.length; index += 1) total += array[index];
  return total;
}

/** Equal for equal tensors in any order: the bits of every value, weighted by its place in the tensor. */
function digest(arrays) {
  let total = 0;
  for (const array of arrays) {
    const bits = new Uint32Array(array.slice().buffer);
    let one = bits.length;
    for (let index = 0; index < bits.length; index += 1) one = (Math.imul(one, 31) + bits[index]) | 0;
    total = (total + one) | 0;
  }
  return { tensors: arrays.length, digest: total >>> 0 };
}

const [name, file] = process.argv.slice(2);
const cpuBefore = process.cpuUsage();
const { clock, arrays } = await contenders[name](file);
const cpu = process.cpuUsage(cpuBefore);
const peakRss = process.resourceUsage().maxRSS * 1024;
console.log(
  JSON.stringify({
    name,
    ...clock.laps,
    cpu: (cpu.user + cpu.system) / 1000,
    peakRss,
    check: arrays === undefined ? undefined : digest(arrays),
  }),
);
// h5wasm keeps the process alive otherwise.
process.exit(0);
