/** The rows of docs/compatibility.md and how often the suites met each. */
import { readFileSync } from "node:fs";

const text = readFileSync(new URL("../../docs/compatibility.md", import.meta.url), "utf8");

/** Ids of the rows: the first cell of each table line, in backticks. */
export const rows: ReadonlySet<string> = new Set(
  [...text.matchAll(/^\|\s*`([a-z0-9.-]+)`/gm)].map((match) => match[1]!),
);

/** Counts outcomes by row; a row that is not in the document is an error at once. */
export class Tally {
  same = 0;
  readonly byRow = new Map<string, string[]>();

  under(row: string, id: string): void {
    if (!rows.has(row)) throw new Error(`docs/compatibility.md has no row ${row} (case ${id})`);
    this.byRow.set(row, [...(this.byRow.get(row) ?? []), id]);
  }

  toString(): string {
    const lines = [...this.byRow].map(([row, ids]) => `  ${row}: ${ids.length} (${ids.slice(0, 12).join(", ")})`);
    return [`${this.same} cases as Keras`, ...lines].join("\n");
  }
}
