// Property tests with a seed of today and more cases: Rust's, TypeScript's, and random models judged by real Keras.
// The seed is printed first; KERAS_WEIGHTS_SEED repeats a run, KERAS_WEIGHTS_CASES sets how many cases each test tries.
import { randomInt } from "node:crypto";

import { pythonOracle } from "../__test__/oracle/venv.mjs";
import { finish, runCargoTests, runVitest } from "./lib/suites.mjs";

const seed = process.env["KERAS_WEIGHTS_SEED"] ?? String(randomInt(2 ** 31));
const cases = process.env["KERAS_WEIGHTS_CASES"] ?? "200";
console.log(`KERAS_WEIGHTS_SEED=${seed} KERAS_WEIGHTS_CASES=${cases}`);
const env = { KERAS_WEIGHTS_SEED: seed, KERAS_WEIGHTS_CASES: cases, PROPTEST_CASES: cases };

const results = [await runCargoTests(["--workspace", "random"], { env })];
results.push(await runVitest({ config: "vitest.config.ts", filters: ["random"], env, passWithNoTests: true }));
env.KERAS_WEIGHTS_PYTHON = await pythonOracle();
results.push(
  await runVitest({
    config: "vitest.oracle.config.ts",
    filters: ["random"],
    env,
    passWithNoTests: true,
    suite: "oracle",
  }),
);
finish(results);
