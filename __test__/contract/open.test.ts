import { existsSync, readFileSync, truncateSync, writeFileSync } from "node:fs";
import { join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { describe, expect, it } from "vitest";

import { errorCodes, openWeights, openWeightsSync, saveWeightsSync } from "keras-weights";

import { native } from "../../ts/native.ts";
import { failure, fixture, kernels, withFolder } from "../robustness/support.ts";

const keras3 = fixture("mnist_dense/k3/model.weights.h5");
const kernel = "layers/dense/vars/0";

/** The path of a tensor in a file of ours, by the number of its layer. */
const ours = (number: number): string => `layers/dense${number === 0 ? "" : `_${number}`}/vars/0`;

function saved(folder: string, ...values: Float32Array[]): string {
  const path = join(folder, "w.weights.h5");
  saveWeightsSync(kernels(...values), path);
  return path;
}

/** Changes one byte of a file. */
function flip(path: string, offset: number): void {
  const bytes = readFileSync(path);
  bytes[offset]! ^= 1;
  writeFileSync(path, bytes);
}

function offsetOf(path: string, values: Float32Array): number {
  return readFileSync(path).indexOf(Buffer.from(values.buffer, values.byteOffset, values.byteLength));
}

describe("an opened file", () => {
  it("lists what it holds without reading a tensor", async () => {
    const file = await openWeights(keras3);
    expect(file.format).toBe("keras3_h5");
    expect(file.note).toBeUndefined();
    expect(file.entries().map(({ path, dtype, shape, byteLength }) => [path, dtype, shape, byteLength])).toEqual([
      ["layers/dense/vars/0", "float32", [784, 64], 200704],
      ["layers/dense/vars/1", "float32", [64], 256],
      ["layers/dense_1/vars/0", "float32", [64, 10], 2560],
      ["layers/dense_1/vars/1", "float32", [10], 40],
    ]);
    expect(file.groups()).toContain("layers/dense_1/vars");
    expect(file.attributes("layers/dense/vars")).toEqual({ name: "dense" });
    expect([file.has(kernel), file.has("layers/dense")]).toEqual([true, false]);
    const before = file.bytesRead;
    expect(before).toBeLessThan(60_000);
    file.get(kernel);
    expect(file.bytesRead).toBe(before);
    file.close();
  });

  it("gives the same values mapped, copied, read and from bytes", async () => {
    const files = [
      openWeightsSync(keras3, { access: "map" }),
      openWeightsSync(keras3, { access: "copy" }),
      openWeightsSync(readFileSync(keras3)),
      openWeightsSync(pathToFileURL(keras3)),
      openWeightsSync(relative(process.cwd(), keras3)),
    ];
    const shared = new Uint8Array(new SharedArrayBuffer(readFileSync(keras3).length));
    shared.set(readFileSync(keras3));
    files.push(await openWeights(shared));
    const raw = readFileSync(keras3);
    for (const file of files) {
      const got = file.get(kernel, "float32");
      const read = await file.read(kernel, { dtype: "float32" });
      const bytes = Buffer.from(got.data.buffer, got.data.byteOffset, got.data.byteLength);
      expect(bytes.equals(Buffer.from(read.data.buffer, read.data.byteOffset, read.data.byteLength))).toBe(true);
      expect(raw.includes(bytes)).toBe(true);
      expect([got.path, got.name, got.shape, got.layer]).toEqual([kernel, "0", [784, 64], undefined]);
      file.close();
    }
  });

  it("shows stored tensors on one buffer, which may be written to and changes no file", () => {
    const before = readFileSync(keras3);
    const file = openWeightsSync(keras3);
    const views = file.entries().map(({ path }) => file.get(path, "float32").data);
    expect(new Set(views.map(({ buffer }) => buffer)).size).toBe(1);
    expect(views.every(({ byteOffset }) => byteOffset % 4 === 0)).toBe(true);
    file.close();
    views[0]!.fill(7);
    expect(views[0]!.every((value) => value === 7)).toBe(true);
    expect(readFileSync(keras3).equals(before)).toBe(true);
    expect(openWeightsSync(keras3).get(kernel, "float32").data[0]).not.toBe(7);
  });

  it("copies where it was told to, each tensor into memory of its own", () => {
    const file = openWeightsSync(keras3, { access: "copy" });
    const [a, b] = [file.get(kernel, "float32").data, file.get(kernel, "float32").data];
    a[0] = 5;
    expect(b[0]).not.toBe(5);
    expect(file.bytesRead).toBeGreaterThan(2 * 200704);
  });

  it("refuses to map what is no file", async () => {
    const error = await failure(() => openWeights(readFileSync(keras3), { access: "map" }));
    expect(error.code).toBe("ERR_WEIGHTS_UNSUPPORTED");
  });

  it("is closed after close, and what it gave stays", async () => {
    const file = openWeightsSync(keras3);
    const { data } = file.get(kernel, "float32");
    const first = data[0];
    file.close();
    file.close();
    expect(data[0]).toBe(first);
    const calls: (() => unknown)[] = [
      () => file.get(kernel),
      () => file.read(kernel),
      () => file.verify(),
      () => file.groups(),
      () => file.attributes(),
      () => file.bytesRead,
    ];
    for (const call of calls) expect((await failure(call)).code).toBe("ERR_WEIGHTS_CLOSED");
    expect(file.entries().length).toBe(4);
  });

  it("disposes itself", async () => {
    // Node 20 knows no `await using`; the symbols are there in all versions that we run on.
    const file = openWeightsSync(keras3);
    await file[Symbol.asyncDispose]();
    expect((await failure(() => file.groups())).code).toBe("ERR_WEIGHTS_CLOSED");
    const other = openWeightsSync(keras3);
    other[Symbol.dispose]();
    expect((await failure(() => other.groups())).code).toBe("ERR_WEIGHTS_CLOSED");
  });

  it("says what is missing and what is of another dtype", async () => {
    const file = openWeightsSync(keras3);
    const missing = await failure(() => file.get("layers/dense"));
    expect([missing.code, missing.weight]).toEqual(["ERR_WEIGHTS_MISSING", "layers/dense"]);
    const other = await failure(() => file.get(kernel, "float16"));
    expect([other.code, other.expected, other.found]).toEqual(["ERR_WEIGHTS_DTYPE", "float16", "float32"]);
    expect((await failure(() => file.attributes("no/where"))).code).toBe("ERR_WEIGHTS_MISSING");
  });

  it("gives each dtype in its array, from compressed, big-endian and other layouts too", () => {
    const kinds = openWeightsSync(fixture("hdf5_kinds/numbers.h5"));
    for (const { path, dtype, shape } of kinds.entries()) {
      if (dtype === "string") continue;
      const tensor = kinds.get(path);
      expect([tensor.dtype, tensor.size]).toEqual([dtype, shape.reduce((size, dim) => size * dim, 1)]);
    }
    expect(kinds.entries().length).toBeGreaterThan(5);
  });
});

describe("digests", () => {
  const values = Float32Array.from({ length: 5000 }, (_, k) => k / 7);
  const others = Float32Array.from({ length: 100 }, (_, k) => -k);

  it("are compared when asked, and all fit in what we wrote", () =>
    withFolder(async (folder) => {
      const file = await openWeights(saved(folder, values, others), { verify: "load" });
      expect(await file.verify()).toEqual({
        format: "keras3_h5",
        verified: 2,
        bytes: 20400,
        withoutDigest: [],
        failed: [],
        unchecked: [expect.stringMatching(/^names, shapes and attributes: HDF5/u)],
      });
      expect(file.entries().every(({ digest }) => /^[0-9a-f]{8}$/.test(digest ?? ""))).toBe(true);
    }));

  it("find a flipped bit: at once, at the first touch of that tensor, in a report, or never", () =>
    withFolder(async (folder) => {
      const path = saved(folder, values, others);
      flip(path, offsetOf(path, values) + 4321);
      const atOnce = await failure(() => openWeights(path, { verify: "load" }));
      expect([atOnce.code, atOnce.weight]).toEqual(["ERR_WEIGHTS_DIGEST", ours(0)]);
      for (const access of ["map", "copy"] as const) {
        const file = await openWeights(path, { access });
        for (const call of [() => file.get(ours(0)), () => file.read(ours(0))]) {
          const error = await failure(call);
          expect(error.code).toBe("ERR_WEIGHTS_DIGEST");
          expect(error.expected).toMatch(/^[0-9a-f]{8}$/);
          expect(error.found).not.toBe(error.expected);
        }
        expect(file.get(ours(1), "float32").data).toEqual(others);
        const report = await file.verify();
        expect([report.verified, report.failed.map(({ path: at }) => at)]).toEqual([1, [ours(0)]]);
      }
      expect(openWeightsSync(path, { verify: "off" }).get(ours(0)).size).toBe(5000);
    }));
});

describe("what is no weights file", () => {
  const html = "<!DOCTYPE html><html><body>Not Found</body></html>";
  const pointer =
    "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";
  const cases: [name: string, content: string | Buffer, words: RegExp][] = [
    ["page.h5", html, /HTML/i],
    ["pointer.h5", pointer, /lfs/i],
    ["empty.h5", "", /empty/i],
    ["noise.h5", Buffer.from(Array.from({ length: 4000 }, (_, k) => (k * 7919) % 256)), /no weights file/i],
  ];
  it("the beginning of an archive is a truncated archive", () =>
    withFolder(async (folder) => {
      const path = join(folder, "archive.keras");
      writeFileSync(path, Buffer.from("504b0304140000000000", "hex"));
      await expect(openWeights(path)).rejects.toMatchObject({ code: "ERR_WEIGHTS_TRUNCATED" });
    }));
  it.each(cases)("%s", (name, content, words) =>
    withFolder(async (folder) => {
      const path = join(folder, name);
      writeFileSync(path, content);
      for (const call of [() => openWeights(path), () => openWeightsSync(path)]) {
        const error = await failure(call);
        expect([error.code, error.file]).toEqual(["ERR_WEIGHTS_NOT_WEIGHTS", path]);
        expect(error.message).toMatch(words);
      }
    }),
  );

  it("a missing file and a folder", () =>
    withFolder(async (folder) => {
      const path = join(folder, "none.h5");
      const missing = await failure(() => openWeights(path));
      expect([missing.code, missing.file]).toEqual(["ERR_WEIGHTS_NOT_FOUND", path]);
      expect((await failure(() => openWeights(folder))).code).toBe("ERR_WEIGHTS_NOT_WEIGHTS");
      expect(existsSync(path)).toBe(false);
    }));

  it("a file that ends early says how long it should be", () =>
    withFolder(async (folder) => {
      const path = join(folder, "cut.weights.h5");
      const whole = readFileSync(keras3);
      for (const length of [whole.length - 1, 100_000, 5000]) {
        writeFileSync(path, whole.subarray(0, length));
        const error = await failure(() => openWeights(path));
        expect([error.code, error.file, error.found]).toEqual(["ERR_WEIGHTS_TRUNCATED", path, length]);
        expect(error.expected).toBeGreaterThan(length);
      }
    }));
});

describe("arguments", () => {
  it("that nobody understands are errors", async () => {
    const bad: [options: object, words: RegExp][] = [
      [{ acess: "copy" }, /acess/],
      [{ access: "mmap" }, /access/],
      [{ verify: "maybe" }, /maybe/],
      [{ limits: { maxTensors: -1 } }, /maxTensors/],
      [{ limits: { maxTensor: 1 } }, /maxTensor/],
    ];
    for (const [options, words] of bad) {
      const error = await failure(() => openWeights(keras3, options));
      expect([error.code, error.message]).toEqual(["ERR_WEIGHTS_ARGUMENT", expect.stringMatching(words)]);
    }
    for (const source of [new URL("https://example.org/w.h5"), "", 5 as never]) {
      expect((await failure(() => openWeights(source))).code).toBe("ERR_WEIGHTS_ARGUMENT");
    }
  });

  it("limits hold", async () => {
    for (const limits of [{ maxTensors: 3 }, { maxTensorBytes: 200_000 }, { maxTotalBytes: 200_800 }]) {
      const error = await failure(() => openWeights(keras3, { limits }));
      expect(error.code).toBe("ERR_WEIGHTS_LIMIT");
      expect(error.expected).toBe(Object.values(limits)[0]);
    }
  });
});

describe("aborting", () => {
  it("before it begins gives the signal's own reason", async () => {
    const reason = new TypeError("mine");
    const signal = AbortSignal.abort(reason);
    const file = openWeightsSync(keras3);
    await expect(openWeights(keras3, { signal })).rejects.toBe(reason);
    await expect(file.read(kernel, { signal })).rejects.toBe(reason);
    await expect(file.verify({ signal })).rejects.toBe(reason);
  });

  it("in the middle gives it too, at any reason, and leaves the caller's listeners alone", () =>
    withFolder(async (folder) => {
      const path = saved(folder, new Float32Array(8 << 20));
      for (const reason of [new Error("mine"), "a word", undefined]) {
        const controller = new AbortController();
        let heard = 0;
        controller.signal.onabort = () => (heard += 1);
        const file = await openWeights(path, { access: "copy" });
        const reading = file.read(ours(0), { signal: controller.signal });
        setImmediate(() => {
          controller.abort(reason);
        });
        const caught: unknown = await reading.catch((error: unknown) => error);
        expect(caught).toBe(controller.signal.reason);
        expect(heard).toBe(1);
        // The file is still good.
        expect((await file.read(ours(0))).size).toBe(8 << 20);
      }
    }));

  it("after the end does nothing", async () => {
    const controller = new AbortController();
    const file = await openWeights(keras3, { signal: controller.signal });
    controller.abort();
    expect(file.get(kernel).size).toBe(784 * 64);
  });
});

it("a file that shrinks while it is open is an error and no crash", () =>
  withFolder(async (folder) => {
    const values = new Float32Array(1 << 20).fill(1);
    for (const access of ["map", "copy"] as const) {
      const path = saved(folder, values);
      const file = await openWeights(path, { access });
      truncateSync(path, 100_000);
      expect((await failure(() => file.read(ours(0)))).code).toBe("ERR_WEIGHTS_TRUNCATED");
      expect((await failure(() => file.get(ours(0)))).code).toBe("ERR_WEIGHTS_TRUNCATED");
    }
  }));

it("TypeScript and the addon know the same error codes", () => {
  expect([...native().errorCodes()].sort()).toEqual([...errorCodes].sort());
});
