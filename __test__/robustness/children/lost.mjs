// Maps a file, cuts it in the one way that breaks no lease, and says what is left of the values.
import { closeSync, constants, openSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

import { layers, openWeights, saveWeights, sequential } from "keras-weights";

const [file, width, output] = process.argv.slice(2);
const model = sequential([layers.input([2]), layers.dense(Number(width), { useBias: false })]);
await model.loadWeights(file);
const opened = await openWeights(file);
const tensor = opened.get("layers/dense/vars/0");
const before = tensor.data[7];
const warned = [];
process.on("warning", ({ code }) => code?.startsWith("WARN_WEIGHTS") && warned.push(code));
closeSync(openSync(file, constants.O_RDONLY | constants.O_TRUNC));
// Each of the two was a mapping of its own. The guard looks round every five seconds.
while (warned.length < 2) await wait(20);
const codes = [...warned];
const codeOf = async (call) => {
  try {
    await call();
    return "none";
  } catch (error) {
    return error.code;
  }
};
for (const call of [
  () => model.getWeights(),
  () => saveWeights(model, output),
  () => tensor.copy(),
  () => tensor.toFloat32(),
  () => opened.get("layers/dense/vars/0"),
  () => opened.read("layers/dense/vars/0"),
  // The model itself is as good as before.
  () => model.setWeights([new Float32Array(2 * width)]),
  () => saveWeights(model, output),
]) {
  codes.push(await codeOf(call));
}
console.log(JSON.stringify({ before, left: tensor.data.length, codes }));
