// Maps a file and drops it, and says whether a writer would have to wait while it is mapped, and afterwards.
import { closeSync, constants, openSync, readdirSync } from "node:fs";
import { setImmediate as turn } from "node:timers/promises";

import { openWeights } from "keras-weights";

const [file] = process.argv.slice(2);
/** What a writer that will not wait is told. It breaks the lease, so each try needs a new mapping. */
const tried = () => {
  try {
    closeSync(openSync(file, constants.O_WRONLY | constants.O_NONBLOCK));
    return "open";
  } catch ({ code }) {
    return code;
  }
};
const map = async () => (await openWeights(file)).get("layers/dense/vars/0").data[3];
const collect = async () => {
  for (let k = 0; k < 5; k++) {
    globalThis.gc();
    await turn();
  }
};
await map();
const files = readdirSync("/proc/self/fd").length;
const opened = await openWeights(file);
const held = opened.get("layers/dense/vars/0").data;
const answers = [tried()];
opened.close();
await map();
await collect();
answers.push(held[3]);
// `held` has its own memory by now, and the other mapping is gone.
while (tried() !== "open") await turn();
await map();
await collect();
answers.push(tried());
console.log(JSON.stringify({ answers, more: readdirSync("/proc/self/fd").length - files }));
