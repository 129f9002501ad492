// Starts workers, ends each in the middle of its work, and prints what stayed behind.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";

import { openWeights, saveWeightsSync } from "keras-weights";

import { held } from "./memory.mjs";
import { target } from "./target.mjs";

const [folder, count] = process.argv.slice(2);
const file = join(folder, "w.weights.h5");
const output = join(folder, "out.weights.h5");
const tensor = "layers/dense/vars/0";
saveWeightsSync(target(new Float32Array(8 << 20).fill(2)), file);

const script = fileURLToPath(new URL("worker.mjs", import.meta.url));

async function endInTheMiddle(k) {
  const worker = new Worker(script, { workerData: { file, tensor, way: k % 4, output } });
  const failed = new Promise((_, reject) => worker.once("error", reject));
  await Promise.race([new Promise((resolve) => worker.once("message", resolve)), failed]);
  await wait((k * 7) % 23);
  await worker.terminate();
}

async function run(workers) {
  for (let k = 0; k < workers; k += 2) await Promise.all([endInTheMiddle(k), endInTheMiddle(k + 1)]);
  // Work that was under way ends at its next look at its flag.
  await wait(300);
}

await run(12);
const before = await held(file);
await run(Number(count));
const after = await held(file);
// Threads, pool and files are as good as ever, and what was being saved is whole or not there.
const values = (await (await openWeights(file)).read(tensor)).data;
const whole = !existsSync(output) || (await (await openWeights(output)).verify()).verified === 1;
console.log(JSON.stringify({ before, after, value: values[values.length - 1], whole }));
