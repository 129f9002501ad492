// Running the test programs and counting what they say.
import { spawn } from "node:child_process";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";

import { environment, root } from "./run.mjs";

/** @typedef {{ suite: string, passed: number, failed: number, failures?: string[] }} Counts */

/** The first lines of a failure: what stands in a log that shows its end alone. */
const beginning = (text) => text.split("\n").slice(0, 4).join(" / ").slice(0, 400);

/** Starts a program, shows what it prints as it comes, and gives the exit code and all of stdout. */
function follow(command, args, env) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd: root,
      env: environment(env),
      stdio: ["ignore", "pipe", "inherit"],
      shell: process.platform === "win32",
    });
    const pieces = [];
    child.stdout.on("data", (piece) => {
      pieces.push(piece);
      process.stdout.write(piece);
    });
    child.on("error", (error) => {
      console.error(`could not start ${command}: ${error.message}`);
      resolve({ code: 1, text: "" });
    });
    child.on("close", (code) => resolve({ code: code ?? 1, text: Buffer.concat(pieces).toString("utf8") }));
  });
}

/** Runs `cargo test`; a run that fails without a failed test (it did not compile, it crashed) counts as one failure. */
export async function runCargoTests(args, { env = {} } = {}) {
  const { code, text } = await follow("cargo", ["test", "--no-fail-fast", ...args], env);
  let passed = 0;
  let failed = 0;
  for (const match of text.matchAll(/^test result: \w+\. (\d+) passed; (\d+) failed;/gm)) {
    passed += Number(match[1]);
    failed += Number(match[2]);
  }
  const failures = [...text.matchAll(/^test (\S+).* \.\.\. FAILED$/gm)].map((match) => match[1]);
  return { suite: "cargo test", passed, failed: code !== 0 && failed === 0 ? 1 : failed, failures };
}

/** Runs vitest under `node`; a run that fails without a failed test counts as one failure. */
export async function runVitest({
  config,
  filters = [],
  env = {},
  node = process.execPath,
  suite = "vitest",
  passWithNoTests = false,
}) {
  const folder = mkdtempSync(join(tmpdir(), "keras-weights-tests-"));
  const report = join(folder, "report.json");
  try {
    const { code } = await follow(
      node,
      [
        join(root, "node_modules", "vitest", "vitest.mjs"),
        ...["run", "--config", config, "--reporter=default", "--reporter=json", `--outputFile.json=${report}`],
        ...(passWithNoTests ? ["--passWithNoTests"] : []),
        ...filters,
      ],
      env,
    );
    let passed = 0;
    let failed = 0;
    const failures = [];
    try {
      const found = JSON.parse(readFileSync(report, "utf8"));
      passed = found.numPassedTests;
      // A file that could not even be collected has no tests: it counts as one failure of its own.
      failed =
        found.numFailedTests +
        found.testResults.filter((f) => f.status === "failed" && f.assertionResults.length === 0).length;
      for (const file of found.testResults.filter((f) => f.status === "failed")) {
        const tests = file.assertionResults.filter((result) => result.status === "failed");
        const where = relative(root, file.name);
        if (tests.length === 0) failures.push(`${where}: ${beginning(file.message)}`);
        for (const { fullName, failureMessages } of tests)
          failures.push(`${where} > ${fullName}: ${beginning(failureMessages.join("\n"))}`);
      }
    } catch {
      // No report: vitest itself died, and its exit code says so.
    }
    return { suite, passed, failed: code !== 0 && failed === 0 ? 1 : failed, failures };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Adds up, and leaves the sums for a caller that counts several commands (`KERAS_WEIGHTS_TALLY` names a file). */
export function summary(results) {
  const passed = results.reduce((sum, result) => sum + result.passed, 0);
  const failed = results.reduce((sum, result) => sum + result.failed, 0);
  const tally = process.env["KERAS_WEIGHTS_TALLY"];
  if (tally !== undefined) {
    for (const result of results) appendFileSync(tally, `${JSON.stringify(result)}\n`);
  }
  return { passed, failed };
}

/** Ends a test command: one line of sums, and the exit code. */
export function finish(results) {
  const { passed, failed } = summary(results);
  console.log(`\n${passed} passed, ${failed} failed`);
  process.exit(failed > 0 || passed === 0 ? 1 : 0);
}
