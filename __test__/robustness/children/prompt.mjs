// Saves with overwrite: "prompt". What it prints on stdout is the prompt's alone; the outcome goes to stderr.
import { layers, sequential } from "keras-weights";

const [way, path] = process.argv.slice(2);
const model = sequential([layers.input([2]), layers.dense(3)]);
const options = { overwrite: "prompt" };
try {
  const report = way === "prompt" ? await model.saveWeights(path, options) : model.saveWeightsSync(path, options);
  process.stderr.write(JSON.stringify(report.cancelled ? "cancelled" : "saved"));
} catch (error) {
  process.stderr.write(JSON.stringify(error.code));
}
