// Attacks made by hand, one row each: what a file does, and what must come of it. `../fixtures/generate/museum.py` writes
// the HDF5 files; all others are made here.
import { mkdirSync, readFileSync, renameSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";

import { isWeightsError, layers, loadModel, openWeights, sequential, type Limits, type Model } from "keras-weights";

import { fixture, withFolder } from "../robustness/support.ts";
import { deflated, npy, safetensors, stored, zip, type Member } from "./museum-bytes.ts";

const dense = (flavor: "keras2" | "keras3"): Model =>
  sequential([layers.input([4]), layers.dense(3, { name: "dense" })], { flavor, name: "m" });

/** Kilobytes that this process held at most since the last call, where the system tells. */
function peak(): number {
  if (process.platform !== "linux") return 0;
  const status = readFileSync("/proc/self/status", "latin1");
  writeFileSync("/proc/self/clear_refs", "5");
  const [now, most] = ["VmRSS", "VmHWM"].map((key) => Number(new RegExp(`${key}:\\s+(\\d+)`, "u").exec(status)?.[1]));
  return (most ?? 0) - (now ?? 0);
}

/** `ok`, or the code. Any other error is a defect. */
async function outcome(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
    return "ok";
  } catch (error) {
    if (isWeightsError(error)) return error.code.replace("ERR_WEIGHTS_", "");
    throw error;
  }
}

/** How opening ends, and loading it into a Dense layer; the weights that were there stay when it fails. */
async function meet(path: string, limits: Limits = {}): Promise<[open: string, load: string, bytesRead: number]> {
  let bytesRead = 0;
  const open = await outcome(async () => {
    const file = await openWeights(path, { limits });
    bytesRead = file.bytesRead;
    file.close();
  });
  const model = dense(path.endsWith(".weights.h5") ? "keras3" : "keras2");
  const before = model.getWeights().map(({ data }) => [...(data as Float32Array)]);
  const load = await outcome(() => model.loadWeights(path, { limits, onWarning: () => undefined }));
  if (load !== "ok") expect(model.getWeights().map(({ data }) => [...(data as Float32Array)])).toEqual(before);
  return [open, load, bytesRead];
}

/** No attack may take more than this: kilobytes. */
const modest = 24 << 10;

beforeAll(async () => {
  // What the first load of all needs is nobody's attack.
  await meet(fixture("_museum/sound.weights.h5"));
  peak();
});

describe("HDF5", () => {
  const files: [name: string, open: string, load: string][] = [
    ["sound.weights.h5", "ok", "ok"],
    ["shape_bomb_below_4_gib.weights.h5", "ok", "LIMIT"],
    ["shape_bomb_chunked.weights.h5", "ok", "LIMIT"],
    ["shape_bomb_late.weights.h5", "ok", "LIMIT"],
    ["shape_overflow.weights.h5", "CORRUPT", "CORRUPT"],
    ["chunk_bomb.weights.h5", "ok", "LIMIT"],
    ["chunk_inflates_further.weights.h5", "ok", "CORRUPT"],
    // Twelve values in a chunk of 4 MB are bad manners and no attack.
    ["chunk_of_zeros.weights.h5", "ok", "ok"],
    ["external_link.weights.h5", "ok", "WEIGHT_COUNT"],
    ["external_link_dataset.weights.h5", "ok", "UNSUPPORTED"],
    ["soft_link.weights.h5", "ok", "UNSUPPORTED"],
    ["soft_link_to_itself.weights.h5", "ok", "UNSUPPORTED"],
    ["external_storage.weights.h5", "ok", "UNSUPPORTED"],
    ["virtual_dataset.weights.h5", "ok", "UNSUPPORTED"],
    ["cyclic_groups.weights.h5", "ok", "ok"],
    ["deep_groups.weights.h5", "LIMIT", "LIMIT"],
    ["texts.weights.h5", "ok", "DTYPE"],
    ["million_entries.weights.h5", "CORRUPT", "CORRUPT"],
    ["entries_2_to_the_60.weights.h5", "CORRUPT", "CORRUPT"],
    ["duplicate_names.weights.h5", "CORRUPT", "CORRUPT"],
    ["weight_name_outside.h5", "ok", "MISSING"],
    ["weight_name_absolute.h5", "ok", "MISSING"],
    ["weight_name_twice.h5", "ok", "SHAPE"],
  ];

  it.each(files)("%s: opening %s, loading %s", async (name, open, load) => {
    peak();
    const [opened, loaded, bytesRead] = await meet(fixture(`_museum/${name}`));
    expect([opened, loaded]).toEqual([open, load]);
    expect(peak()).toBeLessThan(modest);
    // Blocks of metadata; the values of these files are never among them.
    expect(bytesRead).toBeLessThan(24 << 10);
  });

  it("NaN and signalling NaN keep every bit, through a load and a save", () =>
    withFolder(async (folder) => {
      const bits = [0x7fc00000, 0x7f800001, 0xffc12345, 0xffbfffff, 0x7fffffff, 0xff800001, 0x80000000, 1, 0x7f800000, 0xff800000, 0x7fa00001, 0x7f801234]; // prettier-ignore
      const seen = (data: ArrayBufferView): number[] => [...new Uint32Array(data.buffer, data.byteOffset, 12)];
      const model = dense("keras3");
      await model.loadWeights(fixture("_museum/nan_payloads.weights.h5"));
      expect(seen(model.getWeights()[0]!.data)).toEqual(bits);
      for (const name of ["n.weights.h5", "n.h5", "n.safetensors", "n.npz", "n"]) {
        await model.saveWeights(join(folder, name));
        const again = dense("keras3");
        await again.loadWeights(join(folder, name));
        expect(seen(again.getWeights()[0]!.data), name).toEqual(bits);
      }
    }));
});

const weights = readFileSync(fixture("_museum/sound.weights.h5"));
const config = `{"class_name": "Sequential", "config": {"name": "m", "layers": []}}`;
const sound: Member[] = [
  stored("metadata.json", `{"keras_version": "3.15.1"}`),
  stored("config.json", config),
  stored("model.weights.h5", weights),
];
const without = (name: string): Member[] => sound.filter((member) => member.name !== name);
const zeros = Buffer.alloc(8 << 20);
/** One that claims to be 200 times what it stores. */
const liar = (length: number): Member => ({ ...deflated("model.weights.h5", zeros), length });
const tensor = (shape: string, offsets: string): string =>
  `{"dtype":"F32","shape":[${shape}],"data_offsets":[${offsets}]}`;
const npyHeader = (shape: string, descr = "'<f4'"): string =>
  `{'descr': ${descr}, 'fortran_order': False, 'shape': (${shape}), }\n`;
const npz = (array: Buffer): Buffer => zip([stored("dense/kernel.npy", array)]);

describe("archives, headers and indexes", () => {
  const rows: [what: string, name: string, bytes: Buffer | string, open: string, limits?: Limits][] = [
    ["a sound archive", "m.keras", zip(sound), "ok"],
    ["members that climb out", "m.keras", zip([...sound, stored("../../evil", "x")]), "CORRUPT"],
    ["members with an absolute name", "m.keras", zip([...sound, stored("/evil", "x")]), "CORRUPT"],
    ["members with backslashes", "m.keras", zip([...sound, stored("..\\evil", "x")]), "CORRUPT"],
    ["a member of a drive", "m.keras", zip([...sound, stored("C:evil", "x")]), "CORRUPT"],
    ["two members of one name", "m.keras", zip([...sound, stored("config.json", config)]), "CORRUPT"],
    ["members that overlap", "m.keras", zip([...without("config.json"), { ...stored("config.json", config), at: 0 }]), "CORRUPT"], // prettier-ignore
    ["a member beyond the end", "m.keras", zip([...without("config.json"), { ...stored("config.json", config), at: 1 << 30 }]), "CORRUPT"], // prettier-ignore
    ["a directory of 65,000 members", "m.keras", zip(sound, 65_000), "CORRUPT"],
    ["a zip bomb", "m.keras", zip([...without("model.weights.h5"), deflated("model.weights.h5", zeros)]), "LIMIT", { maxInflateRatio: 100 }], // prettier-ignore
    ["a zip bomb that lies low", "m.keras", zip([...without("model.weights.h5"), liar(1000)]), "CORRUPT"],
    ["a zip bomb that lies high", "m.keras", zip([...without("model.weights.h5"), liar(4_000_000_000)]), "LIMIT"],
    ["a config nested 100,000 deep", "m.keras", zip([...without("config.json"), stored("config.json", "[".repeat(100_000))]), "ok"], // prettier-ignore
    ["a safetensors header of 2^63 bytes", "w.safetensors", safetensors(`{"`, 0, 2 ** 62), "NOT_WEIGHTS"],
    ["a safetensors header longer than the file", "w.safetensors", safetensors(`{"a":`, 0, 90_000_000), "TRUNCATED"],
    ["tensors that overlap", "w.safetensors", safetensors(`{"a":${tensor("2", "0,8")},"b":${tensor("2", "4,12")}}`, 12), "CORRUPT"], // prettier-ignore
    ["tensors with a gap", "w.safetensors", safetensors(`{"a":${tensor("2", "0,8")},"b":${tensor("2", "12,20")}}`, 20), "CORRUPT"], // prettier-ignore
    ["a shape beyond 64 bits", "w.safetensors", safetensors(`{"a":${tensor("4294967296,4294967296,4294967296", "0,0")}}`), "CORRUPT"], // prettier-ignore
    ["a tensor of 2^60 bytes", "w.safetensors", safetensors(`{"a":${tensor("288230376151711744", "0,1152921504606846976")}}`), "TRUNCATED"], // prettier-ignore
    ["two tensors of one name", "w.safetensors", safetensors(`{"a":${tensor("1", "0,4")},"a":${tensor("1", "4,8")}}`, 8), "CORRUPT"], // prettier-ignore
    ["a header nested 100,000 deep", "w.safetensors", safetensors(`{"a":${"[".repeat(100_000)}`), "CORRUPT"],
    ["a million texts", "w.safetensors", safetensors(`{"__metadata__":{${Array.from({ length: 100_000 }, (_, k) => `"${k}":"0123456789"`).join()}}}`), "LIMIT", { maxAttributeBytes: 1 << 20 }], // prettier-ignore
    ["an array of 2^60 bytes", "w.npz", npz(npy(npyHeader("1152921504606846976,"))), "TRUNCATED"],
    ["an array beyond 64 bits", "w.npz", npz(npy(npyHeader("9223372036854775807, 9223372036854775807"))), "CORRUPT"],
    ["a header longer than its array", "w.npz", npz(npy(npyHeader("4, 3"), 0, 60_000)), "TRUNCATED"],
    ["an index that climbs out", "w.weights.json", `{"metadata":{"total_size":48},"weight_map":{"/layers/dense/vars":"../w.weights.h5"}}`, "CORRUPT"], // prettier-ignore
    ["an index with an absolute path", "w.weights.json", `{"metadata":{"total_size":48},"weight_map":{"/layers/dense/vars":"/etc/passwd"}}`, "CORRUPT"], // prettier-ignore
    ["an index that names itself", "w.weights.json", `{"metadata":{"total_size":48},"weight_map":{"/layers/dense/vars":"w.weights.json"}}`, "NOT_WEIGHTS"], // prettier-ignore
    ["an index of safetensors that climbs out", "w.safetensors.index.json", `{"metadata":{},"weight_map":{"a":"../../w.safetensors"}}`, "CORRUPT"], // prettier-ignore
    ["an index nested 100,000 deep", "w.weights.json", `{"weight_map":${"[".repeat(100_000)}`, "NOT_WEIGHTS"],
  ];

  it.each(rows)("%s", (_, name, bytes, open, limits) =>
    withFolder(async (folder) => {
      const path = join(folder, "inside", name);
      mkdirSync(dirname(path));
      writeFileSync(path, bytes);
      peak();
      const [opened, loaded] = await meet(path, limits);
      expect(opened).toBe(open);
      if (open !== "ok") expect(loaded).toBe(open);
      expect(peak()).toBeLessThan(modest);
    }),
  );

  it("a pickled array is never read", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.npz");
      writeFileSync(path, npz(npy(npyHeader("1,", "'|O'"), 64)));
      expect(await meet(path)).toEqual(["ok", expect.stringMatching(/^(?:UNSUPPORTED|MISSING|NO_MATCH)$/u), expect.any(Number)]); // prettier-ignore
    }));

  it("a config of 100,000 brackets ends in an error and not in the end of the stack", () =>
    withFolder(async (folder) => {
      const path = join(folder, "m.keras");
      writeFileSync(path, zip([...without("config.json"), stored("config.json", "[".repeat(100_000))]));
      expect(await outcome(() => loadModel(path))).toBe("CONFIG");
      writeFileSync(path, zip([...without("config.json"), stored("config.json", "[".repeat(100_000) + "]".repeat(100_000))])); // prettier-ignore
      expect(await outcome(() => loadModel(path))).toBe("CONFIG");
    }));

  it("an index that is a link, and one that names a link, stay with what stands beside them", () =>
    withFolder(async (folder) => {
      writeFileSync(join(folder, "w.weights.json"), `{"metadata":{"total_size":60},"weight_map":{"/layers/dense/vars":["s.weights.h5"]}}`); // prettier-ignore
      symlinkSync(fixture("_museum/sound.weights.h5"), join(folder, "s.weights.h5"));
      // A link that the owner of the folder made is the owner's own choice.
      expect((await meet(join(folder, "w.weights.json"))).slice(0, 1)).toEqual(["ok"]);
    }));
});

describe("a file that changes while it is open", () => {
  it("cut short: an error, or the values that were there", () =>
    withFolder(async (folder) => {
      for (const access of ["copy", "auto"] as const) {
        const path = join(folder, "w.weights.h5");
        writeFileSync(path, weights);
        const file = await openWeights(path, { access });
        truncateSync(path, 2000);
        const code = await outcome(async () => {
          const { data } = await file.read("layers/dense/vars/0");
          expect([...(data as Float32Array)]).toEqual(Array.from({ length: 12 }, (_, k) => k));
        });
        expect(["ok", "TRUNCATED", "CHANGED"]).toContain(code);
        file.close();
      }
    }));

  it("replaced by another one: the file that was opened goes on", () =>
    withFolder(async (folder) => {
      const path = join(folder, "w.weights.h5");
      writeFileSync(path, weights);
      const file = await openWeights(path);
      writeFileSync(join(folder, "other"), Buffer.alloc(10));
      renameSync(join(folder, "other"), path);
      const { data } = await file.read("layers/dense/vars/0");
      expect([...(data as Float32Array)]).toEqual(Array.from({ length: 12 }, (_, k) => k));
      file.close();
    }));
});
