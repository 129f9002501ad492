// Kills processes that are saving (SIGKILL) at random moments. What is there afterwards is the last complete save or the
// one that was under way, whole; and the next save leaves no litter.
//
//   npm run killtest                     1,000 trials over all formats and shard counts
//   npm run killtest -- --trials 5 npz   five of each of these
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { Random } from "../__test__/hostile/random.mjs";
import { generationOf, kinds, namesIn, Saver } from "../__test__/hostile/saved-kinds.mjs";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    trials: { type: "string", default: "100" },
    seed: { type: "string", default: "1" },
    json: { type: "boolean", default: false },
  },
});
const child = fileURLToPath(new URL("../__test__/hostile/children/saver.mjs", import.meta.url));
const isTemporary = (name) => name.endsWith(".kw-tmp");

/** Lets a process save, kills it, and says what it had begun and ended. */
async function killOne(kind, folder, random) {
  const saver = spawn(process.execPath, [child, kind, folder], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  let begun = 0;
  let duration;
  const first = new Promise((resolve, reject) => {
    saver.stdout.on("data", (piece) => {
      said += piece;
      if (begun === 0 && said.includes("begin 1\n")) begun = performance.now();
      if (duration === undefined && said.includes("end 1\n")) {
        duration = performance.now() - begun;
        resolve();
      }
    });
    saver.on("close", () => reject(new Error(`the saver of ${kind} ended by itself: ${said}`)));
  });
  const closed = new Promise((resolve) => saver.on("close", resolve));
  await first;
  // Anywhere in the next three saves.
  await sleep((random.below(3_000) / 1_000) * duration);
  saver.kill("SIGKILL");
  await closed;
  const last = (word) => Number([...said.matchAll(new RegExp(`${word} (\\d+)\\n`, "gu"))].at(-1)[1]);
  return { begun: last("begin"), ended: last("end") };
}

/** How many files there are when nothing went wrong, after a save and another one over it. */
async function settledFiles(kind) {
  const folder = mkdtempSync(join(tmpdir(), "keras-weights-kill-"));
  try {
    const saver = new Saver(kind, folder);
    await saver.save(1);
    await saver.save(2);
    return namesIn(folder).length;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function run(kind) {
  const report = { kind, trials: 0, duringSave: 0, old: 0, new: 0, lost: 0, withLeftovers: 0, litter: 0, problems: [] };
  const settled = await settledFiles(kind);
  for (let trial = 0; trial < Number(values.trials); trial++) {
    const folder = mkdtempSync(join(tmpdir(), "keras-weights-kill-"));
    const random = new Random(`${kind} ${values.seed} ${trial}`);
    try {
      const { begun, ended } = await killOne(kind, folder, random);
      report.trials += 1;
      report.duringSave += Number(begun > ended);
      const left = namesIn(folder);
      report.withLeftovers += Number(left.length > settled || left.some(isTemporary));
      try {
        const found = await generationOf(kind, folder);
        if (found === ended) report.old += 1;
        else if (found === begun) report.new += 1;
        else throw new Error(`generation ${found} after ${ended} were complete and ${begun} begun`);
      } catch (error) {
        report.lost += 1;
        report.problems.push(`trial ${trial}: ${error.message} (${left.join(", ")})`);
      }
      await new Saver(kind, folder).save(99_999);
      const next = namesIn(folder);
      if ((await generationOf(kind, folder)) !== 99_999)
        report.problems.push(`trial ${trial}: the next save is not there`);
      if (next.length > settled || next.some(isTemporary)) {
        report.litter += 1;
        report.problems.push(`trial ${trial}: litter: ${next.join(", ")}`);
      }
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  }
  return report;
}

const reports = [];
const waiting = positionals.length === 0 ? Object.keys(kinds) : [...positionals];
async function work() {
  for (let kind = waiting.shift(); kind !== undefined; kind = waiting.shift()) {
    const report = await run(kind);
    reports.push(report);
    if (values.json) continue;
    const { problems, ...counts } = report;
    console.log(Object.entries(counts).map(([key, value]) => `${key} ${value}`).join(", ")); // prettier-ignore
    for (const problem of problems) console.log(`  PROBLEM ${problem}`);
  }
}
await Promise.all([work(), work(), work()]);
const sum = (key) => reports.reduce((total, report) => total + report[key], 0);
if (values.json) console.log(JSON.stringify(reports));
else console.log(`${sum("trials")} killed, ${sum("duringSave")} of them during a save: ${sum("old")} old, ${sum("new")} new, ${sum("lost")} lost; litter after the next save ${sum("litter")}`); // prettier-ignore
process.exit(reports.some(({ problems }) => problems.length > 0) ? 1 : 0);
