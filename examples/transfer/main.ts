// Run it with `npx tsx examples/transfer/main.ts [file]`; `generate.py file` then measures the same in Keras.
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { lowHeldOut, recordedByKeras } from "./digits.ts";
import { transfer } from "./transfer.ts";

const best = process.argv[2] ?? join(mkdtempSync(join(tmpdir(), "keras-weights-transfer-")), "best.weights.h5");
const result = await transfer(best);
console.log(`the base, on digits 0 to 4:  ${result.baseCorrect} of ${lowHeldOut.labels.length} right`);
console.log(`${recordedByKeras.framework} in Python:       ${recordedByKeras.correct} of ${recordedByKeras.total}`);
console.log(String(result.copied));
console.log(`new head, not trained:       ${result.correctBefore} of ${result.total} digits 5 to 9 right`);
console.log(`validation loss by epoch:    ${result.losses.map((loss) => loss.toFixed(3)).join(" ")}`);
console.log(`best epoch, from its file:   ${result.correctAfter} of ${result.total}`);
console.log(`the best weights are in      ${best}`);
