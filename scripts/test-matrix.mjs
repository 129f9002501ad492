// The TypeScript suite on every Node that we support, with the addon as it is shipped (release).
// The npm packages `node-<platform>-<arch>` carry the binaries; they are kept in the cache folder.
//
//   npm run test:matrix            all
//   npm run test:matrix -- 22 26   some
import { existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";

import { cacheFolder, npm, run } from "./lib/run.mjs";
import { finish, runVitest } from "./lib/suites.mjs";

/** One version of each line, pinned: the last of a line that has ended, a recent one of the others. */
const versions = ["20.20.2", "22.23.3", "24.21.0", "26.10.0"];

/** The `node` binary of one version, installed when missing. */
function nodeBinary(version) {
  const platform = process.platform === "win32" ? "win" : process.platform;
  const name = `node-${platform}-${process.arch}`;
  const folder = join(cacheFolder, "node", version);
  const binary = join(folder, "node_modules", name, "bin", process.platform === "win32" ? "node.exe" : "node");
  if (!existsSync(binary)) {
    mkdirSync(folder, { recursive: true });
    const what = ["install", "--prefix", folder, "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"];
    run(...npm(...what, "--loglevel=error", `${name}@${version}`), { cwd: folder });
  }
  return binary;
}

const wanted = process.argv.slice(2);
const results = [];
for (const version of versions) {
  if (wanted.length > 0 && !wanted.includes(version.split(".")[0])) continue;
  console.log(`\n== Node ${version}`);
  results.push(
    await runVitest({ config: "vitest.config.ts", node: nodeBinary(version), suite: `vitest on Node ${version}` }),
  );
}
console.log("");
for (const { suite, passed, failed } of results) console.log(`${suite}: ${passed} passed, ${failed} failed`);
finish(results);
