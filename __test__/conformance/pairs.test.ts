// From every format into every other: each value, name, shape, dtype and trainable flag that both can hold arrives.
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import {
  convert,
  layers,
  loadModel,
  model as functional,
  openWeights,
  sequential,
  type ConvertOptions,
  type Flavor,
  type Model,
} from "keras-weights";
import { afterAll, describe, expect, it } from "vitest";

import { sha256 } from "../support/corpus.ts";

const folder = mkdtempSync(join(tmpdir(), "kw-pairs-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface Kind {
  readonly name: string;
  readonly format: string;
  readonly options?: { readonly maxShardBytes: number };
  /** What a name in the file is: of any kind, an object path, or one that only this layout has. */
  readonly names: "any" | "paths" | "own";
  /** Holds config and flags as well. */
  readonly whole?: true;
}

const shards = { maxShardBytes: 400 };
const kinds: readonly Kind[] = [
  { name: "w.h5", format: "legacy_h5", names: "own", whole: true },
  { name: "w.keras", format: "keras", names: "paths", whole: true },
  { name: "w.weights.h5", format: "keras3_h5", names: "paths" },
  { name: "w.weights.json", format: "sharded", names: "paths", options: shards },
  { name: "w.safetensors", format: "safetensors", names: "any" },
  { name: "w.safetensors.index.json", format: "safetensors", names: "any", options: shards },
  { name: "w.npz", format: "npz", names: "any" },
  { name: "w", format: "tf_checkpoint", names: "any" },
  { name: "sharded", format: "tf_checkpoint", names: "any", options: shards },
  { name: "model.json", format: "tfjs_layers", names: "any", whole: true },
];

/** Every order there is to get wrong: shared and nested layers, inner layers, weights that do not train, frozen ones. */
function varied(flavor: Flavor): Model {
  const input = layers.input([6, 4], { name: "x" });
  const shared = layers.dense(4, { name: "shared" });
  const inner = sequential([layers.dense(5, { name: "in_a" }), layers.dense(4, { name: "in_b" })], {
    name: "inner",
    flavor,
  });
  let y = shared.apply(shared.apply(input));
  y = layers.batchNormalization({ name: "norm" }).apply(y);
  y = layers.conv1d(3, 2, { name: "conv" }).apply(y);
  y = layers.bidirectional(layers.lstm(2, { returnSequences: true, name: "lstm" }), { name: "both" }).apply(y);
  y = inner.apply(y);
  y = layers.simpleRnn(3, { name: "rnn" }).apply(y);
  const built = functional({
    inputs: input,
    outputs: layers.dense(2, { name: "out" }).apply(y),
    name: "varied",
    flavor,
  });
  built.getLayer("norm").trainable = false;
  built.getLayer("conv").trainable = false;
  return built;
}

function ofDtypes(flavor: Flavor, dtypes: readonly string[]): Model {
  const list = dtypes.map((dtype, index) => layers.dense(index + 2, { dtype, name: `d_${dtype}` }));
  return sequential([layers.input([3]), ...list], { name: "dtypes", flavor });
}

const models: Readonly<Record<string, (flavor: Flavor) => Model>> = {
  varied,
  floats: (flavor) => ofDtypes(flavor, ["float32", "float16", "bfloat16"]),
  doubles: (flavor) => ofDtypes(flavor, ["float64"]),
};

/** Other values in every weight; bits of the narrow floats that are ordinary numbers. */
function fill(model: Model): Model {
  let next = 1;
  model.setWeights(
    model.getWeights().map((tensor) => {
      const copy = tensor.copy();
      const data = copy.data as Float32Array;
      const start = tensor.dtype === "float16" || tensor.dtype === "bfloat16" ? 0x3c00 : 0;
      for (let k = 0; k < data.length; k += 1) data[k] = start + (next += 1) * (start === 0 ? 0.37 : 1);
      return copy;
    }),
  );
  return model;
}

const content = (model: Model): unknown[] =>
  model.weights.map((weight, index) => {
    const { dtype, shape, data } = model.getWeights()[index]!;
    return [weight.path, dtype, [...shape], weight.trainable, sha256(data)];
  });

let runs = 0;
function place(kind: Kind): string {
  const own = join(folder, String((runs += 1)));
  mkdirSync(own);
  return join(own, kind.name);
}

/** A file of a kind with the model's weights; whole where the kind holds whole models and this one can be one. */
async function written(model: Model, kind: Kind, whole: boolean): Promise<string> {
  const path = place(kind);
  if (kind.format === "tfjs_layers" && !whole) {
    // A save does not change dtypes, a conversion does.
    const weights = place(kinds.find(({ format }) => format === "keras3_h5")!);
    await model.saveWeights(weights);
    await convert(weights, path, { config: model, whole: false });
  } else if (kind.format === "keras" || (whole && kind.whole)) await model.save(path, kind.options);
  else await model.saveWeights(path, kind.options);
  return path;
}

/** TensorFlow.js has no numbers of 64 bits. */
const cannotHold = (kind: Kind, model: string): boolean => kind.format === "tfjs_layers" && model === "doubles";

const flavors = ["keras2", "keras3"] as const;
const cases = flavors.flatMap((flavor) => Object.keys(models).map((model) => ({ flavor, model })));

describe.each(cases)("$model of $flavor", ({ flavor, model: which }) => {
  const make = models[which]!;
  const original = fill(make(flavor));
  const sources = kinds.filter((kind) => !cannotHold(kind, which));
  const pairs = sources.flatMap((from) => kinds.map((to) => ({ from, to, title: `${from.name} to ${to.name}` })));

  it.each(pairs)("$title, through the model", async ({ from, to }) => {
    const source = await written(original, from, false);
    const target = place(to);
    const options: ConvertOptions = { config: make(flavor), whole: false, ...to.options };
    if (cannotHold(to, which)) {
      await expect(convert(source, target, options)).rejects.toMatchObject({ code: "ERR_WEIGHTS_DTYPE" });
      return;
    }
    const report = await convert(source, target, options);
    expect(report).toMatchObject({ from: from.format, format: to.format, leftOut: {}, overflowed: {} });
    expect(report.tensors).toBeGreaterThanOrEqual(original.weights.length);
    const read = make(flavor);
    expect(await read.loadWeights(report.path)).toMatchObject({
      format: to.format,
      missing: [],
      unexpected: [],
      skipped: [],
    });
    // The flags are the model's; files of whole models have them too, which the next test compares.
    expect(content(read)).toEqual(content(original));
  });

  const named = pairs.filter(
    ({ from, to }) =>
      // An archive leads through its model where the output can be one's.
      to.format !== "keras" &&
      !(from.format === "keras" && to.format.startsWith("t")) &&
      !cannotHold(to, which) &&
      (to.names === "any" || (from.names === "paths" && to.names === "paths")),
  );
  it.each(named)("$title, by names", async ({ from, to }) => {
    const source = await written(original, from, false);
    const target = place(to);
    const converting = convert(source, target, { whole: false, ...to.options });
    if (from.format === "legacy_h5" && to.format === "npz") {
      // kernel:0 is no name for a member of an archive.
      if (flavor === "keras2") {
        await expect(converting).rejects.toMatchObject({ code: "ERR_WEIGHTS_NAME" });
        return;
      }
    }
    const report = await converting;
    expect(report).toMatchObject({ format: to.format, overflowed: {} });
    const [before, after] = [await openWeights(source), await openWeights(report.path)];
    // The object graph is a text, and numpy has no name for bfloat16.
    const left = before
      .entries()
      .filter(
        ({ dtype }) =>
          (dtype === "string" && to.format !== "tf_checkpoint") || (dtype === "opaque2" && to.format !== "npz"),
      )
      .map(({ path }) => path);
    expect(Object.keys(report.leftOut).sort()).toEqual(left.sort());
    const numbers = before.entries().filter(({ path, dtype }) => dtype !== "string" && !left.includes(path));
    expect(after.entries().filter(({ dtype }) => dtype !== "string").length).toBe(numbers.length);
    for (const { path, dtype, shape } of numbers) {
      const [one, two] = [await before.read(path), await after.read(path)];
      expect([...two.shape]).toEqual([...shape]);
      // The one format that has fewer dtypes than the others holds the same numbers.
      if (dtype === "bfloat16" && to.format === "npz")
        expect([two.dtype, sha256(two.data)]).toEqual(["opaque2", sha256(one.data)]);
      else if (to.format === "tfjs_layers") expect(two.toFloat32()).toEqual(one.toFloat32());
      else expect([two.dtype, sha256(two.data)], path).toEqual([dtype, sha256(one.data)]);
    }
    before.close();
    after.close();
  });
});

describe.each(flavors)("whole models of %s", (flavor) => {
  const original = fill(varied(flavor));
  const whole = kinds.filter((kind) => kind.whole);
  const pairs = whole.flatMap((from) => whole.map((to) => ({ from, to, title: `${from.name} to ${to.name}` })));

  it.each(pairs)("$title keeps flags and architecture, without anything else", async ({ from, to }) => {
    const source = await written(original, from, true);
    const target = place(to);
    expect(await convert(source, target)).toMatchObject({ format: to.format, leftOut: {}, overflowed: {}, cast: [] });
    const read = await loadModel(target);
    const seen = (model: Model): unknown[] =>
      model.weights.map((weight, index) => [
        [...weight.shape],
        weight.dtype,
        // A model of TensorFlow.js is one of Keras 2, where a frozen layer's variables keep their own flags.
        model.trainableWeights.includes(weight),
        sha256(model.getWeights()[index]!.data),
      ]);
    expect(seen(read)).toEqual(seen(original));
    expect(read.layers.map(({ name, trainable }) => [name, trainable])).toEqual(
      original.layers.map(({ name, trainable }) => [name, trainable]),
    );
  });
});
