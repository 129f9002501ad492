/** Archives, shards, safetensors and npz of every model of the corpus: loaded bit for bit, written, converted. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { convert, convertSync, openWeights, type Model, type SaveOptions } from "keras-weights";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { corpusRoot, expectedOf, samples, sha256, type Sample } from "../support/corpus.ts";
import { buildSample, canBuild } from "../support/zoo.ts";

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "kw-archives-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const names = ["model.keras", "v3.keras", "m.keras", "shard/model.weights.json"];
const digests = (model: Model): string[] => model.getWeights().map((tensor) => sha256(tensor.data));

// Merged kernels are not the kernels of get_weights.
const usable = samples().filter((sample) => canBuild(sample) && !sample.model.startsWith("lora"));

describe.each(usable.map((sample) => [sample.id, sample] as const))("%s", (_id, sample: Sample) => {
  const files = names.filter((name) => existsSync(join(sample.folder, name)));

  it.each(files)("%s", async (file) => {
    const model = buildSample(sample);
    await model.loadWeights(join(sample.folder, file));
    const found = model.getWeights();
    const { get_weights } = expectedOf(sample);
    expect(get_weights.map((w) => sha256(found[w.index]!.data))).toEqual(get_weights.map((w) => w.sha256));
  });

  it.runIf(files.length > 0)("goes through shards, safetensors and npz", async () => {
    const model = buildSample(sample);
    await model.loadWeights(join(sample.folder, files[0]!));
    const before = digests(model);
    const kinds: [string, SaveOptions][] = [
      ["w.weights.json", { maxShardBytes: 1 << 20 }],
      ["w.safetensors", {}],
      ["w.npz", {}],
    ];
    for (const [name, options] of kinds) {
      await model.saveWeights(join(folder, name), options);
      const again = buildSample(sample);
      await again.loadWeights(join(folder, name));
      expect(digests(again), name).toEqual(before);
    }
  });
});

describe("cnn_bn", () => {
  const archive = join(corpusRoot, "cnn_bn/k3/model.keras");

  it("is compared with the archive's checksum when it is loaded", async () => {
    const bytes = readFileSync(archive);
    const file = await openWeights(archive);
    const tensor = file.get("layers/conv2d/vars/0");
    const at = bytes.indexOf(Buffer.from(tensor.data.buffer, tensor.data.byteOffset, tensor.data.byteLength));
    file.close();
    expect(at).toBeGreaterThan(0);
    bytes[at + 3]! ^= 1;
    const damaged = join(folder, "damaged.keras");
    writeFileSync(damaged, bytes);
    const model = buildSample(usable.find(({ id }) => id === "cnn_bn/k3")!);
    await expect(model.loadWeights(damaged)).rejects.toMatchObject({ code: "ERR_WEIGHTS_DIGEST" });
    await model.loadWeights(damaged, { verify: "off" });
  });

  it("converts by names, and through a model from the legacy layout", async () => {
    const target = join(folder, "c.safetensors");
    const seen: number[] = [];
    const report = await convert(archive, target, { onProgress: ({ done }) => seen.push(done) });
    expect(report).toMatchObject({ format: "safetensors", from: "keras", leftOut: {}, overflowed: {} });
    expect(report.tensors).toBeGreaterThan(8);
    const shards = join(folder, "c.weights.json");
    expect(convertSync(target, shards, { maxShardSize: 0.001 }).format).toBe("sharded");
    const sample = usable.find(({ id }) => id === "cnn_bn/k3")!;
    const [expected, model] = [buildSample(sample), buildSample(sample)];
    await expected.loadWeights(archive);
    await model.loadWeights(shards);
    expect(digests(model)).toEqual(digests(expected));

    const legacy = join(folder, "c.h5");
    const bare = join(corpusRoot, "cnn_bn/k3/model.weights.h5");
    await expect(convert(bare, legacy)).rejects.toMatchObject({ code: "ERR_WEIGHTS_FORMAT" });
    expect((await convert(archive, legacy, { config: expected })).format).toBe("legacy_h5");
    const from = buildSample(sample);
    await from.loadWeights(legacy);
    expect(digests(from)).toEqual(digests(expected));
    const half = await convert(archive, join(folder, "half.npz"), { dtype: "float16" });
    expect(half.tensorBytes * 2).toBe(report.tensorBytes);
    await expect(convert(archive, target, { overwrite: false })).rejects.toMatchObject({ code: "ERR_WEIGHTS_EXISTS" });
    const reason = new Error("enough");
    await expect(convert(archive, target, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
  });
});
