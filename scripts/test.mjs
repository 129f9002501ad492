// The suite: cargo's tests, then vitest on the built package.
//
//   npm test                          everything
//   npm test -- matching              only TypeScript test files whose path contains "matching"
//   npm test -- --rust | --js         one language
//   npm run test:random               property tests with a new seed and more cases; the seed is printed
import { randomInt } from "node:crypto";

import { finish, runCargoTests, runVitest } from "./lib/suites.mjs";

const args = process.argv.slice(2);
const random = args.includes("--random");
const filters = args.filter((argument) => !argument.startsWith("--"));
const onlyJs = args.includes("--js") || filters.length > 0;
const onlyRust = args.includes("--rust");

const env = {};
if (random) {
  const seed = process.env["KERAS_WEIGHTS_SEED"] ?? String(randomInt(2 ** 32));
  env.KERAS_WEIGHTS_SEED = seed;
  env.KERAS_WEIGHTS_CASES = process.env["KERAS_WEIGHTS_CASES"] ?? "2000";
  console.log(`random tests with KERAS_WEIGHTS_SEED=${seed} KERAS_WEIGHTS_CASES=${env.KERAS_WEIGHTS_CASES}`);
}

const results = [];
if (!onlyJs) results.push(await runCargoTests(["--workspace"], { env }));
if (!onlyRust) results.push(await runVitest({ config: "vitest.config.ts", filters, env }));

finish(results);
