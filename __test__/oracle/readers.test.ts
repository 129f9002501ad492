/**
 * jsfive and h5wasm open what we write for each corpus model: every dataset under its path, bit for bit, and the names
 * that legacy files list. Each is asked only for dtypes that it reads rightly, whoever wrote the file.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import * as h5wasm from "h5wasm/node";
import * as jsfive from "jsfive";
import { openWeights, type TensorEntry } from "keras-weights";
import { toFloat16 } from "../../ts/half-floats.ts";
import { completeFile, configOf, expectedOf, mergesOnSaving, readable, samples, sha256 } from "../support/corpus.ts";
import { buildSample, canBuild } from "../support/zoo.ts";

const folder = mkdtempSync(join(tmpdir(), "kw-readers-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** What a reader found: the values of each dataset, and the texts of some attributes of groups. */
interface Seen {
  readonly values: ReadonlyMap<string, () => unknown>;
  text(group: string, attribute: string): unknown;
}

interface Reader {
  readonly name: string;
  /** Dtypes that it gives wrong values for, or none. */
  readonly cannot: ReadonlySet<string>;
  open(file: string): Promise<Seen>;
}

const readers: Reader[] = [
  {
    name: "jsfive",
    // bfloat16 comes as float16, 64-bit integers are rounded to doubles.
    cannot: new Set(["bfloat16", "opaque2", "int64", "uint64", "string"]),
    open: async (file) => {
      const bytes = readFileSync(file);
      const root = new jsfive.File(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength), file);
      const values = new Map<string, () => unknown>();
      const walk = (group: jsfive.Group, path: string): void => {
        for (const key of group.keys) {
          const child = group.get(key);
          if (child instanceof jsfive.Dataset) values.set(path + key, () => child.value);
          else walk(child, `${path}${key}/`);
        }
      };
      walk(root, "");
      return {
        values,
        text: (group, attribute) => (group === "" ? root : (root.get(group) as jsfive.Group)).attrs[attribute],
      };
    },
  },
  {
    name: "h5wasm",
    // Half precision needs a Node with Float16Array, bfloat16 is refused.
    cannot: new Set(["bfloat16", "opaque2", "string", ...("Float16Array" in globalThis ? [] : ["float16"])]),
    open: async (file) => {
      await h5wasm.ready;
      const root = new h5wasm.File(file, "r");
      const values = new Map<string, () => unknown>();
      const walk = (group: h5wasm.Group, path: string): void => {
        for (const key of group.keys()) {
          const child = group.get(key);
          if (child instanceof h5wasm.Dataset) values.set(path + key, () => child.value);
          else if (child instanceof h5wasm.Group) walk(child, `${path}${key}/`);
        }
      };
      walk(root, "");
      return {
        values,
        text: (group, attribute) => (group === "" ? root : (root.get(group) as h5wasm.Group)).attrs[attribute]?.value,
      };
    },
  },
];

const arrays = {
  float32: Float32Array,
  float64: Float64Array,
  int8: Int8Array,
  int16: Int16Array,
  int32: Int32Array,
  uint8: Uint8Array,
  uint16: Uint16Array,
  uint32: Uint32Array,
  bool: Uint8Array,
} as const;

/** Values as a reader gives them, in the bytes of their dtype. */
function bytesOf(value: unknown, dtype: TensorEntry["dtype"]): ArrayBufferView {
  const list = (typeof value === "object" ? value : [value]) as ArrayLike<number | bigint>;
  if (dtype === "float16") return Uint16Array.from(list as ArrayLike<number>, toFloat16);
  if (dtype === "int64") return BigInt64Array.from(list as ArrayLike<bigint>);
  if (dtype === "uint64") return BigUint64Array.from(list as ArrayLike<bigint>);
  if (!(dtype in arrays)) throw new Error(`no array for ${dtype}`);
  return arrays[dtype as keyof typeof arrays].from(list as ArrayLike<number>);
}

const current = samples().filter((s) => canBuild(s) && (s.writer === "keras-3.15" || s.writer === "tf_keras"));
let compared = 0;

describe.each(current.map((sample) => [sample.id, sample] as const))("%s", (id, sample) => {
  // Without a config there is no whole model; a legacy file of some subclassed models lacks weights, Keras' own too.
  const legacy = sample.model === "pure_bfloat16" || readable(sample, "legacy");
  const names = ["w.weights.h5", ...(legacy ? ["w.h5"] : []), ...(configOf(sample) === undefined ? [] : ["whole.h5"])];
  it.each(names)("%s", { timeout: 120_000 }, async (name) => {
    const model = buildSample(sample);
    await model.loadWeights(completeFile(sample));
    const path = join(folder, `${id.replaceAll("/", "-")}-${name}`);
    await (name === "whole.h5" ? model.save(path) : model.saveWeights(path));
    const file = await openWeights(path);
    const entries = file.entries();
    const listed = file.groups().flatMap((group) =>
      Object.entries(file.attributes(group))
        .filter(([attribute]) => /^(?:layer|weight)_names\d*$/.test(attribute))
        .map(([attribute, names]) => [group, attribute, names] as const),
    );
    const expected = expectedOf(sample).get_weights;
    for (const reader of readers) {
      const seen = await reader.open(path);
      expect([...seen.values.keys()].sort(), reader.name).toEqual(entries.map((entry) => entry.path).sort());
      const read = entries.filter(({ dtype }) => !reader.cannot.has(dtype));
      const found = new Map(read.map(({ path: at, dtype }) => [at, sha256(bytesOf(seen.values.get(at)?.(), dtype))]));
      // Against our own reader path by path, and against what Keras had in the model.
      expect([...found], reader.name).toEqual(read.map(({ path: at }) => [at, sha256(file.get(at).data)]));
      if (!mergesOnSaving(sample) || !name.endsWith(".weights.h5")) {
        const hashes = new Set(found.values());
        const asked = expected.filter(({ dtype }) => !reader.cannot.has(dtype));
        expect(
          asked.filter((weight) => !hashes.has(weight.sha256)).map((weight) => weight.path ?? weight.name),
        ).toEqual([]);
        if (asked.length === 0) expect(sample.model).toBe("pure_bfloat16");
      }
      for (const [group, attribute, names] of listed) {
        // An empty list is one of no doubles, in Keras' files too.
        const theirs = Array.from(seen.text(group, attribute) as ArrayLike<unknown>);
        expect(theirs, `${reader.name} ${group} ${attribute}`).toEqual(names);
      }
      compared += found.size;
    }
    file.close();
  });
});

it("compared something with both readers", () => {
  expect(compared).toBeGreaterThan(100);
  process.stdout.write(`jsfive and h5wasm: ${compared} datasets compared bit for bit\n`);
});
