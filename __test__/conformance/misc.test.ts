/**
 * Single cases beside the matrices: arguments of set_weights, unbuilt models, damaged files, names that promise another
 * layout. Each is compared with whether Keras raised and which weights had changed, or falls under a row.
 */
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { isWeightsError, layers, modelFromConfig, sequential, type Model } from "keras-weights";
import { corpusRoot, readJson, type Flavor } from "../support/corpus.ts";
import { expectRows, rows, rowsOf, Tally } from "../support/compatibility.ts";

interface Outcome {
  exception?: { type: string; message: string };
  changed?: string[];
}

const folder = join(corpusRoot, "_broken");
const scratch = mkdtempSync(join(tmpdir(), "kw-misc-"));
const tally = new Tally();
afterAll(() => {
  rmSync(scratch, { recursive: true, force: true });
  process.stderr.write(`conformance, single cases: ${tally.toString()}\n`);
});

const zeros = (n: number) => new Float32Array(n);
const unbuilt = (flavor: Flavor) => sequential([layers.dense(3), layers.dense(2)], { flavor });

/** What Keras was asked to do in a case, done here. `row` is where we differ on purpose. */
interface Action {
  run: (model: Model, flavor: Flavor) => unknown;
  row?: Partial<Record<Flavor, string>>;
  only?: Flavor;
  /** What Keras changed where the record does not say it (it loads nothing and says nothing). */
  kerasChanged?: string[];
}

const load =
  (file: string, options: object = {}) =>
  (model: Model) =>
    model.loadWeights(join(folder, file), { ...options, onWarning: () => undefined });

const actions: Record<string, Action> = {
  set_weights_too_few: {
    run: (m) => {
      m.setWeights(m.getWeights().slice(0, -1));
    },
  },
  set_weights_too_many: {
    run: (m) => {
      m.setWeights([...m.getWeights(), zeros(3)]);
    },
  },
  set_weights_float64_values: {
    run: (m) => {
      m.setWeights(m.getWeights().map((t) => Float64Array.from(t.data as Float32Array)));
    },
  },
  set_weights_int_values: {
    run: (m) => {
      m.setWeights(m.getWeights().map((t) => Int32Array.from(t.data as Float32Array)));
    },
  },
  set_weights_scalar_for_vector: {
    run: (m) => {
      m.setWeights(m.getWeights().map((t, k) => (k === 1 ? zeros(1) : t)));
    },
  },
  set_weights_partial_effect: {
    run: (m) => {
      m.setWeights(m.getWeights().map((t, k) => (k === 4 ? zeros(81) : t.toFloat32().map((x) => x + 1))));
    },
    row: { keras3: "set-weights-whole" },
  },
  layer_set_weights_wrong_len: {
    run: (m) => {
      m.getLayer("a").setWeights([zeros(20)]);
    },
  },
  layer_set_weights_wrong_shape: {
    run: (m) => {
      m.getLayer("a").setWeights([zeros(20), zeros(6)]);
    },
  },
  unbuilt_get_weights: { run: (_, flavor) => unbuilt(flavor).getWeights(), row: { keras2: "unbuilt" } },
  unbuilt_set_weights: {
    run: (_, flavor) => {
      unbuilt(flavor).setWeights([]);
    },
    row: { keras2: "unbuilt" },
  },
  unbuilt_set_weights_one: {
    run: (_, flavor) => {
      unbuilt(flavor).setWeights([zeros(3)]);
    },
  },
  unbuilt_save_weights: {
    run: (_, flavor) => unbuilt(flavor).saveWeights(join(scratch, "u.weights.h5")),
    row: { keras2: "unbuilt" },
  },
  unbuilt_load_weights_v3: { run: (_, flavor) => load("k3.weights.h5")(unbuilt(flavor)) },
  unbuilt_load_weights_h5: { run: (_, flavor) => load("k2_weights.h5")(unbuilt(flavor)) },
  "load:garbage.weights.h5": { run: load("garbage.weights.h5") },
  "load:garbage.h5": { run: load("garbage.h5") },
  "load:garbage.keras": { run: load("garbage.keras") },
  "load:empty.weights.h5": { run: load("empty.weights.h5") },
  "load:no_attrs.h5": { run: load("no_attrs.h5") },
  "load:no_attrs.weights.h5": { run: load("no_attrs.weights.h5") },
  "load:k2_truncated.weights.h5": { run: load("k2_truncated.weights.h5") },
  "load:k3_truncated.weights.h5": { run: load("k3_truncated.weights.h5") },
  "load_missing_ext:w.h5": { run: load("does_not_exist_w.h5") },
  "load_missing_ext:w.weights.h5": { run: load("does_not_exist_w.weights.h5") },
  "load_missing_ext:w.keras": { run: load("does_not_exist_w.keras") },
  "load_legacy_h5_named_.weights.h5": {
    run: (m, flavor) => load(flavor === "keras3" ? "k3_legacy_renamed.weights.h5" : "k2_legacy_renamed.weights.h5")(m),
    row: { keras2: "content-before-suffix", keras3: "content-before-suffix" },
  },
  "load_v3_named_.h5": {
    run: (m, flavor) => load(flavor === "keras3" ? "k3_v3_renamed.h5" : "k2_v3_renamed.h5")(m),
    row: { keras2: "content-before-suffix", keras3: "content-before-suffix" },
  },
  "load_v3_named_.h5_by_name": {
    run: (m, flavor) => load(flavor === "keras3" ? "k3_v3_renamed.h5" : "k2_v3_renamed.h5", { byName: true })(m),
    row: { keras3: "by-name-object-paths", keras2: "by-name-object-paths" },
    kerasChanged: [],
  },
  load_bad_kwarg: { run: load("k2_weights.h5", { foo: 1 }) },
  load_objects_to_skip: { run: (m) => load("k3.weights.h5", { objectsToSkip: [m.layers[0]] })(m), only: "keras3" },
  load_objects_to_skip_h5: { run: (m) => load("k2_weights.h5", { objectsToSkip: [m.layers[0]] })(m), only: "keras3" },
};

describe.each([
  ["k3", "keras3"],
  ["k2", "keras2"],
] as const)("%s", (prefix, flavor: Flavor) => {
  const recorded = readJson(join(folder, `${prefix}_misc.json`)) as Record<string, Outcome>;
  const { targets } = readJson(join(folder, `${prefix}_matrix.json`)) as { targets: Record<string, object> };
  const cases = Object.entries(actions).filter(([name, { only }]) => name in recorded && (only ?? flavor) === flavor);

  it.each(cases)("%s", async (name, { run, row, kerasChanged }) => {
    const keras = recorded[name]!;
    const model = modelFromConfig(targets["same"]!);
    model.setWeights(model.weights.map((w, k) => zeros(w.shape.reduce((a, b) => a * b, 1)).fill(-1 - k)));
    const before = model.getWeights().map((t) => t.toFloat32().slice());
    let raised: string | undefined;
    try {
      await run(model, flavor);
    } catch (error) {
      if (!isWeightsError(error)) throw error;
      raised = error.code;
    }
    const after = model.getWeights().map((t) => t.toFloat32());
    const changed = model.weights.flatMap(({ path }, k) => {
      const same = after[k]!.every((x, i) => x === before[k]![i]);
      return same ? [] : [path.split("/").slice(-2).join("/")];
    });
    const wanted = (keras.changed ?? kerasChanged)?.map((path) => path.split("/").slice(-2).join("/"));
    const differs =
      (raised !== undefined) !== (keras.exception !== undefined) || (wanted && String(wanted) !== String(changed));
    if (differs === true || row?.[flavor] !== undefined) {
      const where = row?.[flavor];
      expect(where, JSON.stringify({ keras, raised, changed })).toBeDefined();
      expect(differs, `${where} is no difference any more`).toBe(true);
      tally.under(where!, `${prefix} ${name}`);
    } else tally.same += 1;
    if (raised !== undefined) expect(changed).toEqual([]);
  });
});

describe("rows that no recorded case shows", () => {
  it("weightless-by-name: a convolution whose file layer has no weights is a count mismatch", async () => {
    const file = join(scratch, "weightless.h5");
    await sequential([layers.input([4, 1]), layers.flatten({ name: "c" }), layers.dense(2, { name: "d" })], {
      flavor: "keras2",
    }).saveWeights(file);
    const model = sequential([layers.input([4, 1]), layers.conv1d(2, 3, { name: "c" })], { flavor: "keras2" });
    await expect(model.loadWeights(file, { byName: true })).rejects.toMatchObject({ code: "ERR_WEIGHTS_WEIGHT_COUNT" });
    tally.under("weightless-by-name", "conv1d");
  });

  it("cast-range: a float outside an integer's range becomes the nearest integer, NaN becomes 0", () => {
    const model = sequential([layers.input([1]), layers.normalization({ name: "n" })]);
    const count = model.weights.find((w) => w.dtype.startsWith("int"))!;
    count.assign(Float64Array.of(Number.NaN));
    expect(Number(count.read()[0])).toBe(0);
    count.assign(Float64Array.of(1e300));
    expect(count.read()[0]).toBe(count.dtype === "int64" ? 9223372036854775807n : 2147483647);
    tally.under("cast-range", "count");
  });

  it("layer-roots: any layer saves and loads, in a legacy file as the only layer", async () => {
    const make = () => sequential([layers.input([3]), layers.dense(2, { name: "d" })]);
    const one = make();
    for (const name of ["layer.weights.h5", "layer.h5"]) {
      await one.getLayer("d").saveWeights(join(scratch, name));
      const other = make();
      await other.getLayer("d").loadWeights(join(scratch, name));
      expect(other.getWeights().map((t) => [...t.toFloat32()])).toEqual(
        one.getWeights().map((t) => [...t.toFloat32()]),
      );
      expect(existsSync(join(scratch, name))).toBe(true);
    }
    tally.under("layer-roots", "dense");
  });
});

it("every row of docs/compatibility.md is met by a suite", () => {
  expect([...rows].filter((row) => !Object.values<readonly string[]>(rowsOf).flat().includes(row))).toEqual([]);
  expectRows("misc", tally);
});
