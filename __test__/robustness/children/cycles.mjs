// Opens, reads and drops a file many times in every way there is, and prints what stayed behind.
import { setImmediate as turn } from "node:timers/promises";

import { layers, openWeights, openWeightsSync, sequential } from "keras-weights";

import { held } from "./memory.mjs";

const [file, kernel, count] = process.argv.slice(2);
const model = sequential([layers.input([784]), layers.dense(64), layers.dense(10)]);

const ways = [
  async () => (await openWeights(file)).get(kernel).data[0],
  async () => {
    const opened = openWeightsSync(file);
    const sum = opened.get(kernel).data[0] + opened.get(kernel).data[1];
    opened.close();
    return sum;
  },
  async () => (await (await openWeights(file, { access: "copy" })).read(kernel)).data[0],
  async () => (await openWeights(file)).verify(),
  async () => model.loadWeights(file),
  async () => model.loadWeightsSync(file, { access: "copy" }),
  async () => openWeights(file, { access: "nonsense" }).catch(() => undefined),
];

async function run(cycles) {
  for (let k = 0; k < cycles; k++) {
    await ways[k % ways.length]();
    // Buffers are given back by finalizers, which run between turns after a collection.
    if (k % 50 === 0) await held(file);
    else await turn();
  }
}

await run(210);
const before = await held(file);
await run(Number(count));
console.log(JSON.stringify({ before, after: await held(file) }));
