// How long the event loop stands still while TensorFlow.js trains, with a checkpoint at each epoch's end and without:
//
//   npm run bench -- pauses              four rounds
//   npm run bench -- pauses --rounds 8   more rounds
//
// A round trains the same model in each way, one after the other, so that what else the machine does meets all alike. The
// delay of the loop is sampled each millisecond; training blocks it for a batch at a time whatever we do.
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { parseArgs } from "node:util";

import * as tf from "@tensorflow/tfjs";
import { modelCheckpoint, saveModel, saveWeights } from "keras-weights/tfjs";

const { values: options } = parseArgs({
  options: { rounds: { type: "string", default: "4" } },
  allowPositionals: true,
});
const rounds = Number(options.rounds);
const epochs = 3;
const [batchSize, batches] = [4, 2];
const folder = mkdtempSync(join(tmpdir(), "keras-weights-pauses-"));

tf.env().set("IS_TEST", true);
await tf.setBackend("cpu");

function makeModel() {
  const model = tf.sequential({
    layers: [
      tf.layers.dense({ units: 1024, activation: "relu", inputShape: [512] }),
      tf.layers.dense({ units: 1024, activation: "relu" }),
      tf.layers.dense({ units: 10, activation: "softmax" }),
    ],
  });
  model.compile({ optimizer: tf.train.adam(0.001), loss: "categoricalCrossentropy" });
  return model;
}

const model = makeModel();
const x = tf.randomNormal([batchSize * batches, 512]);
const y = tf.oneHot(
  tf.tensor1d(
    [...Array(batchSize * batches).keys()].map((k) => k % 10),
    "int32",
  ),
  10,
);
const weightsFile = join(folder, "epoch.weights.h5");
const wholeFile = join(folder, "epoch.keras");
/** TensorFlow.js itself lets the loop turn only where a callback waits: here after each batch, in every way. */
const turns = () => new tf.CustomCallback({ onBatchEnd: () => new Promise((done) => setTimeout(done, 2)) });
const fit = (callbacks) => model.fit(x, y, { epochs, batchSize, verbose: 0, callbacks: [turns(), ...callbacks] });

const ways = {
  "training alone": () => fit([]),
  "+ weights each epoch": () => fit([modelCheckpoint(tf, weightsFile, { saveWeightsOnly: true })]),
  "+ model and optimizer each epoch": () => fit([modelCheckpoint(tf, wholeFile)]),
  "saving weights, no training": () => saveWeights(model, weightsFile),
  "saving the model, no training": () => saveModel(model, wholeFile),
};

/** Delays in milliseconds while something runs. The histogram counts from one sample to the next: that is taken away. */
async function delays(work) {
  const histogram = monitorEventLoopDelay({ resolution: 1 });
  histogram.enable();
  const start = performance.now();
  await work();
  const total = performance.now() - start;
  histogram.disable();
  const at = (percent) => Math.max(0, histogram.percentile(percent) / 1e6 - 1);
  return { p50: at(50), p90: at(90), p99: at(99), max: Math.max(0, histogram.max / 1e6 - 1), total };
}

const median = (numbers) => {
  const sorted = [...numbers].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

// What is compiled and loaded at first use is no pause of a checkpoint.
for (const work of Object.values(ways)) await work();
const runs = new Map(Object.keys(ways).map((name) => [name, []]));
for (let round = 0; round < rounds; round += 1) {
  for (const [name, work] of Object.entries(ways)) runs.get(name).push(await delays(work));
}

console.log(
  `Node ${process.version}, ${cpus().length} × ${cpus()[0]?.model.trim()}, load average ${loadavg()[0].toFixed(1)}, ` +
    `${rounds} rounds of ${epochs} epochs; weights ${megabytes(weightsFile)} MB, with Adam's state ${megabytes(wholeFile)} MB`,
);
console.log(row(["pauses of the event loop", "p50 ms", "p90 ms", "p99 ms", "max ms", "max, worst", "total ms"]));
for (const [name, results] of runs) {
  const column = (key) => median(results.map((result) => result[key])).toFixed(1);
  const worst = Math.max(...results.map(({ max }) => max)).toFixed(1);
  console.log(row([name, column("p50"), column("p90"), column("p99"), column("max"), worst, column("total")]));
}
rmSync(folder, { recursive: true, force: true });

function megabytes(file) {
  return (statSync(file).size / 1e6).toFixed(0);
}

function row([first, ...others]) {
  return first.padEnd(36) + others.map((cell) => cell.padStart(12)).join("");
}
