// Everything CI checks besides tests. Each check is named; all run, and the first failure does not hide the others.
//
//   npm run check            all
//   npm run check -- clippy  those whose name contains "clippy"
import { summary } from "./lib/suites.mjs";
import { run } from "./lib/run.mjs";

/** Features of kw-formats, one for each format; each must stand alone. */
import { formatFeatures } from "./lib/workspace.mjs";

const checks = [
  ["rustfmt", ["cargo", ["fmt", "--all", "--check"]]],
  ["rustfmt of the judge", ["cargo", ["fmt", "--check", "--manifest-path", "crates/hdf5-judge/Cargo.toml"]]],
  ["clippy", ["cargo", ["clippy", "--workspace", "--all-targets", "--all-features", "--", "-D", "warnings"]]],
  ...formatFeatures().map((feature) => [
    `format alone: ${feature}`,
    ["cargo", ["clippy", "-p", "kw-formats", "--no-default-features", "--features", feature, "--", "-D", "warnings"]],
  ]),
  ["no format", ["cargo", ["clippy", "-p", "kw-formats", "--no-default-features", "--", "-D", "warnings"]]],
  ["rustdoc", ["cargo", ["doc", "--workspace", "--no-deps"], { env: { RUSTDOCFLAGS: "-D warnings" } }]],
  ["layers", [process.execPath, ["scripts/check-layers.mjs"]]],
  ["dependencies", [process.execPath, ["scripts/check-dependencies.mjs"]]],
  ["tsc", ["tsc", ["--noEmit"]]],
  ["eslint", ["eslint", [".", "--max-warnings", "0"]]],
  ["prettier", ["prettier", ["--check", "--log-level", "warn", "."]]],
];

const filter = process.argv[2] ?? "";
const results = [];
for (const [name, [command, args, options]] of checks) {
  if (!name.includes(filter)) continue;
  console.log(`\n== ${name}`);
  const failed = run(command, args, { ...options, allowFailure: true }) === 0 ? 0 : 1;
  results.push({ suite: `check: ${name}`, passed: 1 - failed, failed });
}

console.log("");
for (const { suite, failed } of results) console.log(`${failed ? "FAILED" : "ok    "} ${suite}`);
process.exit(summary(results).failed > 0 || results.length === 0 ? 1 : 0);
