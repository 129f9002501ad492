// Watches processes that open mutants: one that ends by itself, says nothing for 5 seconds, takes more than 256 MB for
// one file, or meets an error that is none of ours, is a finding.
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const child = fileURLToPath(new URL("children/mutants.mjs", import.meta.url));

/** Milliseconds that one mutant may take. The machine's other work counts too. */
const patience = 5_000;
/** Kilobytes that one mutant may take. */
const allowed = 256 << 10;

/** Runs mutants from number `from` in one process until all are done or one is a finding that ended it. */
function runOnce(format, seed, from, to, onResult) {
  const parent = mkdtempSync(join(tmpdir(), "keras-weights-mutants-"));
  return new Promise((resolve) => {
    const args = ["--expose-gc", child, format, seed, String(from), String(to), join(parent, "mutant")];
    const running = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
    let current;
    let hung = false;
    let errors = "";
    let timer;
    running.stderr.on("data", (piece) => (errors = (errors + piece).slice(-2000)));
    createInterface({ input: running.stdout }).on("line", (line) => {
      clearTimeout(timer);
      if (line.startsWith("{")) {
        current = undefined;
        onResult(JSON.parse(line));
        return;
      }
      current = Number(line);
      timer = setTimeout(() => {
        hung = true;
        running.kill("SIGKILL");
      }, patience);
    });
    running.on("close", (code, signal) => {
      clearTimeout(timer);
      rmSync(parent, { recursive: true, force: true });
      resolve({ current, hung, how: signal ?? `exit code ${code}`, failed: code !== 0, errors });
    });
  });
}

/**
 * Runs `count` mutants of a format.
 *
 * @returns {Promise<{ format: string, mutants: number, accepted: number, refused: Record<string, number>, most: number,
 *   findings: { n: number, kind: string, detail: string }[] }>} `most` is the largest growth by one mutant, in kilobytes.
 */
export async function runMutants(format, seed, from, to) {
  const report = { format, mutants: 0, accepted: 0, refused: {}, most: 0, findings: [] };
  const again = new Set();
  let next = from;
  while (next < to) {
    const start = next;
    const { current, hung, how, failed, errors } = await runOnce(format, seed, next, to, (row) => {
      next = row.n + 1;
      report.mutants += 1;
      report.most = Math.max(report.most, row.kilobytes);
      if (row.result === "ok") report.accepted += 1;
      else report.refused[row.result] = (report.refused[row.result] ?? 0) + 1;
      const where = `${row.seed}, use ${row.use}`;
      if (row.detail !== undefined)
        report.findings.push({ n: row.n, kind: row.result, detail: `${where}: ${row.detail}` });
      if (row.kilobytes > allowed)
        report.findings.push({ n: row.n, kind: "memory", detail: `${where}: ${row.kilobytes} kB, then ${row.result}` });
    });
    if (current !== undefined) {
      // A busy machine is no finding: the same mutant gets a second chance.
      if (hung && !again.has(current)) {
        again.add(current);
        next = current;
        continue;
      }
      report.mutants += 1;
      report.findings.push({ n: current, kind: hung ? "hang" : "crash", detail: `${how} ${errors}` });
      next = current + 1;
    } else if (failed && next === start) {
      // It did not even begin: there is nothing to be gained from another try.
      throw new Error(`the process for ${format} ended by ${how}: ${errors}`);
    }
  }
  return report;
}
