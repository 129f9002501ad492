// Holds a file mapped in several ways, on the main thread and in a worker, reads its values again and again while
// somebody else does something to the file, and says what it saw. Linux only.
//
// Speaks with its parent by lines: prints "ready" when all is mapped, ends when it reads a line.
import { closeSync, openSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setImmediate as turn } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isMainThread, parentPort, Worker, workerData } from "node:worker_threads";

import { layers, openWeights, sequential } from "keras-weights";

/** Elements of the kernel, and what the element at one place is. */
export const elements = 1 << 21;
export const valueAt = (k) => k % 65_521;

const { file, access, held } = isMainThread ? JSON.parse(process.argv[2]) : workerData;

/** Three ways to the same pages: a model, and the file opened twice. */
async function map() {
  const model = sequential([layers.input([2]), layers.dense(elements / 2, { useBias: false })]);
  await model.loadWeights(file, { access });
  const opened = [await openWeights(file, { access }), await openWeights(file, { access, verify: "off" })];
  const tensors = [model.getWeights()[0], ...opened.map((one) => one.get("layers/dense/vars/0"))];
  return { model, opened, tensors };
}

/** Reads until told to stop; gives how many values were wrong, also of all at the end. */
async function read({ tensors }, stopped) {
  let wrong = 0;
  const data = tensors.map((tensor) => tensor.data);
  const check = (values, k) => {
    if (values[k] !== valueAt(k) && !Object.is(values[k], stored.get(`${data.indexOf(values)}/${k}`))) wrong += 1;
  };
  // What a program stores into its own memory stays there, too.
  const stored = new Map();
  for (const [index, k] of [0, 12_345, elements - 1].entries()) {
    data[index][k] = -1 - index;
    stored.set(`${index}/${k}`, -1 - index);
  }
  while (!stopped()) {
    for (let n = 0; n < 20_000; n++) {
      const k = Math.floor(Math.random() * elements);
      for (const values of data) check(values, k);
    }
    await turn();
  }
  for (const values of data) for (let k = 0; k < elements; k++) check(values, k);
  return wrong;
}

function mappings() {
  return readFileSync("/proc/self/maps", "utf8")
    .split("\n")
    .filter((line) => line.includes(file)).length;
}

if (!isMainThread) {
  const all = await map();
  let stop = false;
  parentPort.on("message", () => (stop = true));
  parentPort.postMessage("ready");
  parentPort.postMessage({ wrong: await read(all, () => stop) });
  parentPort.close();
} else {
  // A writer of our own at the time of the opening: no lease can be had.
  const writer = held ? openSync(file, "r+") : undefined;
  const warnings = [];
  process.on("warning", ({ code }) => code?.startsWith("WARN_WEIGHTS") && warnings.push(code));
  const signals = [];
  for (const signal of ["SIGIO", "SIGUSR2", "SIGWINCH"]) process.on(signal, () => signals.push(signal));

  const worker = new Worker(fileURLToPath(import.meta.url), { workerData: { file, access } });
  const next = () => new Promise((resolve, reject) => worker.once("message", resolve).once("error", reject));
  await next();
  const all = await map();
  const mapped = mappings();
  if (writer !== undefined) closeSync(writer);
  let told;
  createInterface({ input: process.stdin }).once("line", (line) => (told = line));
  console.log("ready");
  // "truncate" and "write" from inside: this very process is the writer.
  const { self } = JSON.parse(process.argv[2]);
  if (self === "truncate") truncateSync(file, 5000);
  if (self === "write") writeFileSync(file, "other");
  const wrong = await read(all, () => told !== undefined);
  for (const signal of ["SIGIO", "SIGUSR2", "SIGWINCH"]) process.kill(process.pid, signal);
  const after = mappings();
  const answer = next();
  worker.postMessage("stop");
  const inWorker = (await answer).wrong;
  await new Promise((resolve) => setTimeout(resolve, 50));
  console.log(JSON.stringify({ wrong, inWorker, mapped, after, warnings, signals: signals.length }));
  // Until here nothing of it may be collected.
  all.tensors.length = 0;
  process.stdin.destroy();
}
