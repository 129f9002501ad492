// The codes are a promise: docs/errors.md lists exactly those that Rust can raise.
import { readFileSync } from "node:fs";
import { errorCodes } from "keras-weights";
import { expect, test } from "vitest";

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const codes = (text: string, pattern: RegExp): string[] => [...text.matchAll(pattern)].map((match) => match[1] ?? "");

test("docs/errors.md has a row for each code of crates/model, in the same order", () => {
  const raised = codes(read("crates/model/src/error.rs"), /^ {4}\w+ = "(ERR_WEIGHTS_\w+)",$/gm);
  const documented = codes(read("docs/errors.md"), /^\| `(ERR_WEIGHTS_\w+)` \|/gm);
  expect(raised.length).toBeGreaterThan(20);
  expect(documented).toEqual(raised);
});

test("TypeScript knows the same codes", () => {
  const documented = codes(read("docs/errors.md"), /^\| `(ERR_WEIGHTS_\w+)` \|/gm);
  expect([...errorCodes].sort()).toEqual([...documented].sort());
});
