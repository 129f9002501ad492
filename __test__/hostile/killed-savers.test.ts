import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { describe, expect, it } from "vitest";

interface Report {
  readonly kind: string;
  readonly trials: number;
  readonly duringSave: number;
  readonly problems: readonly string[];
}

const script = fileURLToPath(new URL("../../scripts/kill-test.mjs", import.meta.url));
const kinds = ["keras3_h5", "keras", "sharded_4", "tf_checkpoint_4", "npz"];

/** The long form is `npm run killtest`: 1,000 trials over ten kinds. */
describe.runIf(process.platform !== "win32")("processes that are killed while they save", { timeout: 300_000 }, () => {
  it("leave the old weights or the new, and no litter after the next save", async () => {
    const { stdout } = await promisify(execFile)(process.execPath, [script, "--json", "--trials", "2", ...kinds]);
    const reports = JSON.parse(stdout) as Report[];
    expect(reports.map(({ kind, trials, problems }) => [kind, trials, problems]).sort()).toEqual(
      kinds.map((kind) => [kind, 2, []]).sort(),
    );
    // A saver does little else than saving.
    expect(reports.reduce((sum, { duringSave }) => sum + duringSave, 0)).toBeGreaterThan(4);
  });
});
