// Saves one model again and again under one name: all its values are the same number, which grows from save to save.
// Prints "begun", and at the end the codes of the saves that failed.
import { layers, sequential } from "keras-weights";

const [path, first, count, whole, options] = process.argv.slice(2);
const dense = (name) => layers.dense(256, { name });
const model = sequential([layers.input([256]), dense("a"), dense("b")], { name: "m" });
const values = model.getWeights().map(({ size }) => new Float32Array(size));
const failed = [];
console.log("begun");
for (let k = 0; k < Number(count); k++) {
  for (const value of values) value.fill(Number(first) + k);
  model.setWeights(values);
  try {
    if (whole === "true") await model.save(path, JSON.parse(options));
    else await model.saveWeights(path, JSON.parse(options));
  } catch (error) {
    failed.push(error.code ?? String(error));
  }
}
console.log(JSON.stringify(failed));
