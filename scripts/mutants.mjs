// Opens mutants of real files through the public API, in processes of their own: no crash, no hang, no memory beyond
// 256 MB for one file, no error but ours.
//
//   npm run mutants                         10,000 of each format
//   npm run mutants -- bundle keras         of these formats
//   npm run mutants -- --count 500          fewer
//   npm run mutants -- --from 4711 --count 1 keras    one finding again
//   npm run mutants -- --seed today         others than those of the record
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";

import { runMutants } from "../__test__/hostile/mutants.mjs";
import { formats } from "../__test__/hostile/seeds.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    count: { type: "string", default: "10000" },
    from: { type: "string", default: "0" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const wanted = positionals.length === 0 ? Object.keys(formats) : positionals;
const from = Number(values.from);
const to = from + Number(values.count);

const reports = [];
const waiting = [...wanted];
async function work() {
  for (let format = waiting.shift(); format !== undefined; format = waiting.shift()) {
    const report = await runMutants(format, values.seed, from, to);
    reports.push(report);
    if (values.json) continue;
    const { mutants, accepted, refused, most, findings } = report;
    const codes = Object.entries(refused).sort(([, a], [, b]) => b - a).map(([code, count]) => `${code.replace("ERR_WEIGHTS_", "")} ${count}`); // prettier-ignore
    console.log(`${format}: ${mutants} mutants, ${accepted} accepted, at most ${(most / 1024).toFixed(1)} MB; ${codes.join(", ")}`); // prettier-ignore
    for (const { n, kind, detail } of findings) console.log(`  FINDING ${kind}, mutant ${n}: ${detail}`);
  }
}
await Promise.all(Array.from({ length: Math.min(availableParallelism(), 4) }, work));
if (values.json) console.log(JSON.stringify(reports));
process.exit(reports.some(({ findings }) => findings.length > 0) ? 1 : 0);
