// Reads and writes without end, until somebody ends it.
import { parentPort, workerData } from "node:worker_threads";

import { openWeights, saveWeights } from "keras-weights";

import { target } from "./target.mjs";

const { file, tensor, way, output } = workerData;
const values = new Float32Array(4 << 20).fill(1);
parentPort.postMessage("begun");
for (;;) {
  if (way === 0) await (await openWeights(file, { access: "copy" })).read(tensor);
  else if (way === 1) await (await openWeights(file, { access: "map", verify: "load" })).read(tensor);
  else if (way === 2) (await openWeights(file)).get(tensor);
  else await saveWeights(target(values), output);
}
