// The suite: cargo's tests, then vitest on the built package.
//
//   npm test                          everything
//   npm test -- matching              only TypeScript test files whose path contains "matching"
//   npm test -- --rust | --js         one language

import { finish, runCargoTests, runVitest } from "./lib/suites.mjs";

const args = process.argv.slice(2);
const filters = args.filter((argument) => !argument.startsWith("--"));
const onlyJs = args.includes("--js") || filters.length > 0;
const onlyRust = args.includes("--rust");

const results = [];
if (!onlyJs) results.push(await runCargoTests(["--workspace"]));
if (!onlyRust) results.push(await runVitest({ config: "vitest.config.ts", filters }));

finish(results);
