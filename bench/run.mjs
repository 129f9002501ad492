// Reads the same files with us and with others and compares: time, ratio to fs.readFileSync, memory.
//
//   npm run bench                      all files in full size
//   npm run bench -- --quick           small files, three rounds
//   npm run bench -- --only many       one file: contiguous, compressed or many
//   npm run bench -- --rounds 9        more rounds
//   npm run bench -- --json FILE       writes every single measurement
//   npm run bench -- pauses            something else: pauses of the event loop while TensorFlow.js trains
//   npm run bench -- convert           memory of conversions instead: see convert.mjs
//
// Each contender reads in a fresh process, and a round runs all of them one after the other, so that what else the
// machine does meets all alike. A ratio is the median over rounds of contender / fs.readFileSync of the same round.
import { spawnSync } from "node:child_process";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { cpus, loadavg, totalmem } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";

import { benchConvert } from "./convert.mjs";
import { benchFiles } from "./files.mjs";

if (process.argv[2] === "pauses") {
  await import("./pauses.mjs");
  process.exit(0);
}

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    size: { type: "string" },
    quick: { type: "boolean", default: false },
    only: { type: "string" },
    rounds: { type: "string" },
    json: { type: "string" },
  },
});
if (positionals[0] === "convert") {
  process.exit((await benchConvert({ size: Number(options.size ?? 4), json: options.json })) ? 0 : 1);
}
const rounds = Number(options.rounds ?? (options.quick ? 3 : 5));
const floor = "fs.readFileSync";

/** Contenders of each file, and the ratios of docs/ARCHITECTURE.md's budget: `[most, compared with]`. */
const files = [
  {
    name: "contiguous",
    what: "Keras 2 .h5, contiguous float32",
    contenders: [
      floor,
      "fs.readFileSync + sum",
      "ours, views",
      "ours, views + sum",
      "ours, copied",
      "h5wasm, Node FS",
      "jsfive",
    ],
    budget: {
      "ours, views": [0.03, floor],
      "ours, views + sum": [0.6, "fs.readFileSync + sum"],
      "ours, copied": [1.1, floor],
    },
  },
  {
    name: "compressed",
    what: ".h5 with gzip-4 and shuffle",
    contenders: [floor, "ours, copied", "h5wasm, Node FS", "jsfive"],
    budget: { "ours, copied": [2, floor] },
  },
  {
    name: "many",
    what: "Keras 2 .h5, many small layers",
    contenders: [floor, "ours, views", "ours, copied", "h5wasm, Node FS", "jsfive"],
    budget: { "ours, views": [8, floor], "ours, copied": [8, floor] },
  },
];

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};
const total = (run) => run.open + run.load + run.sum;
const megabytes = (bytes) => (bytes / 1e6).toFixed(0);
const milliseconds = (ms) => (ms < 10 ? ms.toFixed(1) : ms.toFixed(0));

function measure(contender, file) {
  const child = spawnSync(
    process.execPath,
    [join(import.meta.dirname ?? new URL(".", import.meta.url).pathname, "contender.mjs"), contender, file],
    {
      encoding: "utf8",
      maxBuffer: 1 << 26,
    },
  );
  const line = child.stdout.trim().split("\n").at(-1);
  if (child.status !== 0 || !line?.startsWith("{")) {
    return {
      name: contender,
      error:
        child.stderr.split("\n").find((text) => /Error/.test(text)) || `ended with ${child.signal ?? child.status}`,
    };
  }
  return JSON.parse(line);
}

const { folder, writers } = await benchFiles(options.quick ? "small" : "full");
const machine = `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}, ${megabytes(totalmem())} MB`;
console.log(`${machine}, load average ${loadavg()[0].toFixed(1)}, ${rounds} rounds`);
if (loadavg()[0] > 1) console.log("Something else is running: trust the ratios, not the times.");

const results = [];
let wrong = 0;
for (const file of files) {
  if (options.only !== undefined && options.only !== file.name) continue;
  if (writers[file.name] === undefined) {
    console.log(`\n${file.name}: not made, no Python with h5py was found`);
    continue;
  }
  const path = join(folder, `${file.name}.h5`);
  // Into the page cache, so that the first contender of the first round does not pay for all.
  readFileSync(path);
  const runs = [];
  for (let round = 0; round < rounds; round += 1) {
    for (const contender of file.contenders) {
      progress(`${file.name}: round ${round + 1} of ${rounds}, ${contender}`);
      runs.push({ round, ...measure(contender, path) });
    }
  }
  progress("");

  console.log(`\n${file.name}: ${file.what}, ${megabytes(statSync(path).size)} MB, written by ${writers[file.name]}`);
  console.log(row(["", "init ms", "open ms", "load ms", "sum ms", "total ms", "×", "budget", "CPU ms", "peak RSS MB"]));
  const of = (contender) => runs.filter((run) => run.name === contender);
  const ratio = (contender, to) => median(of(contender).map((run, round) => total(run) / total(of(to)[round])));
  for (const contender of file.contenders) {
    const mine = of(contender);
    const failed = mine.find((run) => run.error !== undefined);
    if (failed !== undefined) {
      console.log(`${contender.padEnd(24)} failed: ${failed.error}`);
      wrong += contender.startsWith("ours") ? 1 : 0;
      continue;
    }
    const column = (pick) => milliseconds(median(mine.map(pick)));
    const [most, to] = file.budget[contender] ?? [undefined, floor];
    console.log(
      row([
        contender,
        column((run) => run.init),
        column((run) => run.open),
        column((run) => run.load),
        column((run) => run.sum),
        column(total),
        ratio(contender, to).toFixed(2),
        most === undefined ? "" : `≤ ${most}`,
        column((run) => run.cpu),
        megabytes(Math.max(...mine.map((run) => run.peakRss))),
      ]),
    );
  }
  const checks = new Set(runs.filter((run) => run.check !== undefined).map((run) => JSON.stringify(run.check)));
  console.log(checks.size === 1 ? "all readers gave the same values" : `THE VALUES DIFFER: ${[...checks].join(" ")}`);
  wrong += checks.size === 1 ? 0 : 1;
  results.push({ file: file.name, writer: writers[file.name], bytes: statSync(path).size, runs });
}

if (options.json !== undefined) {
  writeFileSync(
    options.json,
    `${JSON.stringify({ machine, date: new Date().toISOString(), rounds, results }, null, 1)}\n`,
  );
}
process.exit(wrong > 0 ? 1 : 0);

function row([first, ...others]) {
  return first.padEnd(24) + others.map((cell) => cell.padStart(12)).join("");
}

/** One line on a terminal that the next one replaces. */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r${text.padEnd(70)}\r`);
}
