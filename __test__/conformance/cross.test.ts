/**
 * Files that one Keras wrote, loaded into models of the other: the same weights get the same values as in the
 * recorded runs, or more of them where docs/compatibility.md says why.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { isWeightsError } from "keras-weights";
import { corpusRoot, expectedOf, readJson, samples, sha256, type Flavor, type Sample } from "../support/corpus.ts";
import { buildSample, canBuild } from "../support/zoo.ts";
import { expectRows, Tally } from "../support/compatibility.ts";

interface Outcome {
  /** Why Keras could not build the model in that run, if it could not; then the whole file must load here. */
  build?: string;
  loaded: boolean;
  exception?: [type: string, message: string];
  matched: number;
  total: number;
  map: [live: string, saved: string][] | number;
}

const all = samples();
const tally = new Tally();
afterAll(() => {
  process.stderr.write(`conformance, across versions: ${tally.toString()}\n`);
});

/** The model of the same name in the flavour that loads; the current release's sample has the config. */
function target(model: string, flavor: Flavor): Sample | undefined {
  return all.find(
    (s) => s.model === model && s.flavor === flavor && (s.writer === "tf_keras" || s.writer === "keras-3.15"),
  );
}

describe.each([
  ["k3", "keras3"],
  ["k2", "keras2"],
] as const)("loaded by %s", (prefix, flavor: Flavor) => {
  const recorded = readJson(join(corpusRoot, "_cross", `${prefix}_loads.json`)) as Record<string, Outcome>;
  const cases = Object.entries(recorded).flatMap(([file, outcome]) => {
    if (!file.endsWith(".h5") || !existsSync(join(corpusRoot, file))) return [];
    const source = all.find((s) => file.startsWith(`${s.id}/`));
    const into = source && target(source.model, flavor);
    return into && canBuild(into) ? [[file, outcome, source, into] as const] : [];
  });

  it.each(cases)("%s", async (file, outcome, source, into) => {
    const model = buildSample(into);
    model.setWeights(model.weights.map((w) => new Float32Array(w.shape.reduce((a, b) => a * b, 1))));
    const before = model.getWeights().map((tensor) => sha256(tensor.data));
    let raised: string | undefined;
    try {
      await model.loadWeights(join(corpusRoot, file), { onWarning: () => undefined });
    } catch (error) {
      if (!isWeightsError(error)) throw error;
      raised = error.code;
    }
    const saved = new Map<string, string>();
    for (const w of expectedOf(source).get_weights) if (!saved.has(w.sha256)) saved.set(w.sha256, w.path ?? w.name);
    const map = model.getWeights().map((tensor) => saved.get(sha256(tensor.data)) ?? "<none>");
    const matched = map.filter((name) => name !== "<none>").length;

    if (outcome.build !== undefined) {
      expect(map).toEqual(expectedOf(source).get_weights.map((w) => w.path ?? w.name));
      tally.same += 1;
    } else if (outcome.loaded) {
      expect(raised, JSON.stringify({ raised, outcome })).toBeUndefined();
      if (Array.isArray(outcome.map)) expect(map).toEqual(outcome.map.map(([, name]) => name));
      else expect(matched).toBe(outcome.matched);
      tally.same += 1;
    } else if (raised !== undefined) {
      // Keras leaves the model half-loaded; we leave it as it was.
      expect(model.getWeights().map((tensor) => sha256(tensor.data))).toEqual(before);
      tally.under("transaction", file);
    } else {
      // We load what Keras cannot: every weight must then be right.
      expect(matched, JSON.stringify({ map, outcome })).toBe(outcome.total);
      const row = source.model === "pure_bfloat16" ? "opaque-bfloat16" : "other-walks";
      tally.under(source.writer === "keras-2.12" ? "keras-2.12-names" : row, file);
    }
  });
});

it("meets its rows of the table", () => {
  expectRows("cross", tally);
});
