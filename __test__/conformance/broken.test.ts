/**
 * Mismatched models against real files, case by case with what Keras did: whether it raised, which weights hold the
 * file's values afterwards, and which layers it warned of. Where we differ, a row of docs/compatibility.md says so.
 */
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { isWeightsError, modelFromConfig, type Model } from "keras-weights";
import { corpusRoot, readJson, sha256, type Flavor } from "../support/corpus.ts";
import { expectRows, Tally } from "../support/compatibility.ts";

type State = [path: string, shape: number[], state: string];
interface Case {
  target: string;
  format: string;
  file: string;
  kwargs: { skip_mismatch?: boolean; by_name?: boolean };
  exception?: { type: string; message: string };
  warnings?: { message: string }[];
  log?: string[];
  weights_after: State[];
}
interface Matrix {
  source_weights: [path: string, shape: number[], sha256: string][];
  targets: Record<string, object>;
  cases: Case[];
}

const tally = new Tally();
afterAll(() => {
  process.stderr.write(`conformance, mismatches: ${tally.toString()}\n`);
});

/** Fills weight k with -1-k, as the generator of the matrix did before each load. */
function fill(model: Model): void {
  model.setWeights(
    model.weights.map((weight, k) => new Float32Array(weight.shape.reduce((a, b) => a * b, 1)).fill(-1 - k)),
  );
}

/** Names of the layers that Keras' words warn of; class names where it gives only those. */
function warnedByKeras(entry: Case): string[] {
  const texts = [...(entry.warnings ?? []).map((w) => w.message), ...(entry.log ?? [])];
  const names = new Set<string>();
  for (const text of texts) {
    const list = text.split("List of objects that could not be loaded:")[1];
    for (const match of (list ?? "").matchAll(/<\w+ name=([^,>]+)/g)) names.add(match[1]!);
    for (const match of text.matchAll(/\(named ([^)]+)\)\s?due/g)) names.add(match[1]!);
  }
  return [...names].sort();
}

/** Keras loads some weights of a layer and leaves others; we take a layer whole or not at all. */
function partialLayers(keras: State[]): Set<string> {
  const layers = new Map<string, Set<string>>();
  for (const [path, , state] of keras) {
    const layer = path.split("/").slice(0, -1).join("/");
    layers.set(layer, (layers.get(layer) ?? new Set()).add(state === "unchanged" ? "unchanged" : "loaded"));
  }
  return new Set([...layers].filter(([, states]) => states.size > 1).map(([layer]) => layer));
}

function classify(
  entry: Case,
  ours: { raised: string | undefined; after: string[]; warned: string[] },
): string | undefined {
  const keras = entry.weights_after.map(([, , state]) => state);
  const kerasRaised = entry.exception !== undefined;
  const unchanged = ours.after.every((state) => state === "unchanged");
  const sameState = ours.after.every((state, k) => state === keras[k]);
  if (kerasRaised === (ours.raised !== undefined) && sameState) return "same";
  if (kerasRaised && ours.raised !== undefined && unchanged) return "transaction";
  if (!kerasRaised && ours.raised === "ERR_WEIGHTS_NO_MATCH" && keras.every((state) => state === "unchanged")) {
    return "by-name-no-match";
  }
  const partial = partialLayers(entry.weights_after);
  const onlyPartialDiffer = entry.weights_after.every(
    ([path, , state], k) =>
      ours.after[k] === state || (ours.after[k] === "unchanged" && partial.has(path.split("/").slice(0, -1).join("/"))),
  );
  if (kerasRaised === (ours.raised !== undefined) && onlyPartialDiffer) return "whole-layer-skip";
  return undefined;
}

describe.each([
  ["k3", "keras3", new Set(["weights_h5", "legacy_full_h5", "k2_weights_h5", "k2_v3weights"])],
  ["k2", "keras2", new Set(["h5", "full_h5", "v3weights"])],
] as const)("%s", (prefix, flavor: Flavor, formats: ReadonlySet<string>) => {
  const matrix = readJson(join(corpusRoot, "_broken", `${prefix}_matrix.json`)) as Matrix;
  const values = new Map(matrix.source_weights.map(([path, , hash]) => [hash, path]));
  const cases = matrix.cases.filter((entry) => formats.has(entry.format));

  it.each(cases.map((entry) => [`${entry.target} ${entry.file} ${JSON.stringify(entry.kwargs)}`, entry] as const))(
    "%s",
    async (id, entry) => {
      const config = matrix.targets[entry.target];
      if (config === undefined) throw new Error(`no config for ${entry.target}`);
      const model = modelFromConfig(config);
      expect(model.flavor).toBe(flavor);
      fill(model);
      const before = model.getWeights().map((tensor) => sha256(tensor.data));
      const warned = new Set<string>();
      let raised: string | undefined;
      try {
        await model.loadWeights(join(corpusRoot, "_broken", entry.file), {
          ...(entry.kwargs.by_name === undefined ? {} : { byName: entry.kwargs.by_name }),
          ...(entry.kwargs.skip_mismatch === undefined ? {} : { skipMismatch: entry.kwargs.skip_mismatch }),
          onWarning: (warning) => {
            if (warning.layer !== undefined) warned.add(warning.layer);
          },
        });
      } catch (error) {
        if (!isWeightsError(error)) throw error;
        raised = error.code;
      }
      const after = model.getWeights().map((tensor, k) => {
        const hash = sha256(tensor.data);
        if (hash === before[k]) return "unchanged";
        return values.has(hash) ? `loaded:${values.get(hash)}` : "other";
      });
      const ours = { raised, after, warned: [...warned].sort() };
      const row = classify(entry, ours);
      expect(row, JSON.stringify({ keras: entry, ours })).toBeDefined();
      if (row === "same") tally.same += 1;
      else tally.under(row!, id);
      // Keras 2's own words for .weights.h5 name only the class of the object.
      if (raised === undefined && entry.exception === undefined && entry.format !== "v3weights") {
        expect(ours.warned).toEqual(warnedByKeras(entry));
      }
    },
  );
});

it("meets the rows about mismatches", () => {
  expectRows("broken", tally);
});
