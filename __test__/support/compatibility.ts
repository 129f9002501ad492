/** The rows of docs/compatibility.md and how often the suites met each. */
import { readFileSync } from "node:fs";

const text = readFileSync(new URL("../../docs/compatibility.md", import.meta.url), "utf8");

/** Ids of the rows: the first cell of each table line, in backticks. */
export const rows: ReadonlySet<string> = new Set(
  [...text.matchAll(/^\|\s*`([a-z0-9.-]+)`/gm)].flatMap(([, row]) => (row === undefined ? [] : [row])),
);

/** Which suite meets which rows. A suite fails when it did not, and a row that stands nowhere here fails too. */
export const rowsOf = {
  broken: ["transaction", "whole-layer-skip", "by-name-no-match"],
  cross: ["keras-2.12-names", "other-walks", "opaque-bfloat16"],
  callbacks: ["checkpoint-batches", "checkpoint-array"],
  checkpoints: [
    "checkpoint-root",
    "checkpoint-nothing",
    "checkpoint-cast",
    "checkpoint-optimizer",
    "checkpoint-overwrite",
  ],
  orbax: ["orbax-names", "orbax-places"],
  keras1: ["time-distributed-keras1"],
  misc: [
    "set-weights-whole",
    "unbuilt",
    "content-before-suffix",
    "by-name-object-paths",
    "weightless-by-name",
    "cast-range",
    "layer-roots",
  ],
  whole: ["h5-loss-names", "h5-training", "unknown-optimizer", "metric-state"],
} as const;

/** Counts outcomes by row; a row that is not in the document is an error at once. */
export class Tally {
  same = 0;
  readonly byRow = new Map<string, string[]>();

  under(row: string, id: string): void {
    if (!rows.has(row)) throw new Error(`docs/compatibility.md has no row ${row} (case ${id})`);
    this.byRow.set(row, [...(this.byRow.get(row) ?? []), id]);
  }

  toString(): string {
    const lines = [...this.byRow].map(([row, ids]) => `  ${row}: ${ids.length}`);
    return [`${this.same} cases as Keras`, ...lines].join("\n");
  }
}

/** Fails when a row that this suite should meet covers no case. */
export function expectRows(suite: keyof typeof rowsOf, tally: Tally): void {
  const unmet = rowsOf[suite].filter((row) => !tally.byRow.has(row));
  if (unmet.length > 0) throw new Error(`no case falls under ${unmet.join(", ")}`);
}
