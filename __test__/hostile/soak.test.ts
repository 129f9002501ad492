import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { expect, it } from "vitest";

interface Report {
  readonly requests: Readonly<Record<string, number>>;
  readonly failed: number;
  readonly problems: readonly string[];
}

const script = fileURLToPath(new URL("../../scripts/soak.mjs", import.meta.url));

/** The long form is `npm run soak`: 10 minutes, and it judges memory and pauses, which a few seconds cannot. */
it("the example server answers every request that comes while it saves, loads and verifies", async () => {
  const run = promisify(execFile)(process.execPath, [script, "--seconds", "6", "--json"]);
  // Ends with 1 for problems of time, which are no matter here.
  const { stdout } = await run.catch((error: unknown) => error as { stdout: string });
  const { requests, failed, problems } = JSON.parse(stdout) as Report;
  expect(failed, problems.join("\n")).toBe(0);
  expect(Object.keys(requests).sort()).toEqual(["GET", "GET tensor", "GET verify", "POST", "PUT"]);
});
