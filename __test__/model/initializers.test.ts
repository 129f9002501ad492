import { readFileSync } from "node:fs";
import { describe as suite, expect, it } from "vitest";

import type { JsonObject } from "../../ts/config/json.ts";
import { fans, initialize, initializerConfig, parseInitializer, unitForgetBias } from "../../ts/initializers.ts";
import { layers } from "../../ts/layers/index.ts";
import { sequential } from "../../ts/model/sequential.ts";
import { setRandomSeed } from "../../ts/random.ts";
import { float16ToFloat32 } from "../../ts/half-floats.ts";

function statistics(values: Float32Array): { mean: number; deviation: number; low: number; high: number } {
  const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
  const deviation = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
  return {
    mean,
    deviation,
    low: values.reduce((a, b) => Math.min(a, b)),
    high: values.reduce((a, b) => Math.max(a, b)),
  };
}

function draw(setting: Parameters<typeof parseInitializer>[0], shape: readonly number[]): Float32Array {
  return initialize(parseInitializer(setting), shape, "float32") as Float32Array;
}

suite("initializers", () => {
  const shape = [200, 300];
  const average = 250;

  // Deviation and, for bounded distributions, the bound: of scale / fan by Keras' definitions.
  const cases: [string, JsonObject, number, number | undefined][] = [
    ["random_normal", {}, 0.05, undefined],
    ["random_uniform", {}, 0.05 / Math.sqrt(3), 0.05],
    ["truncated_normal", { stddev: 2 }, 2 * 0.8796256610342398, 4],
    ["glorot_uniform", {}, Math.sqrt(1 / average), Math.sqrt(3 / average)],
    ["glorot_normal", {}, Math.sqrt(1 / average), (2 * Math.sqrt(1 / average)) / 0.8796256610342398],
    ["he_uniform", {}, Math.sqrt(2 / 200), Math.sqrt(6 / 200)],
    ["he_normal", {}, Math.sqrt(2 / 200), (2 * Math.sqrt(2 / 200)) / 0.8796256610342398],
    ["lecun_uniform", {}, Math.sqrt(1 / 200), Math.sqrt(3 / 200)],
    ["lecun_normal", {}, Math.sqrt(1 / 200), (2 * Math.sqrt(1 / 200)) / 0.8796256610342398],
    [
      "variance_scaling",
      { scale: 3, mode: "fan_out", distribution: "untruncated_normal" },
      Math.sqrt(3 / 300),
      undefined,
    ],
  ];
  for (const [name, config, deviation, bound] of cases) {
    it(`${name} ${JSON.stringify(config)} has Keras' distribution`, () => {
      setRandomSeed(7);
      const found = statistics(draw({ class_name: name, config }, shape));
      expect(found.mean / deviation).toBeCloseTo(0, 1);
      expect(found.deviation / deviation).toBeCloseTo(1, 1);
      if (bound !== undefined) {
        expect(Math.max(-found.low, found.high)).toBeLessThanOrEqual(bound * 1.0001);
        expect(Math.max(-found.low, found.high)).toBeGreaterThan(bound * 0.98);
      }
    });
  }

  it("a seed gives the same values again, no seed others", () => {
    const seeded = { class_name: "GlorotUniform", config: { seed: 3 } };
    expect(draw(seeded, [5, 5])).toEqual(draw(seeded, [5, 5]));
    expect(draw("glorot_uniform", [5, 5])).not.toEqual(draw("glorot_uniform", [5, 5]));
    setRandomSeed(1);
    const first = draw("he_normal", [3, 3]);
    setRandomSeed(1);
    expect(draw("he_normal", [3, 3])).toEqual(first);
  });

  for (const [rows, columns] of [
    [6, 4],
    [4, 6],
    [5, 5],
  ] as const) {
    it(`orthogonal ${rows}×${columns}`, () => {
      const values = draw({ class_name: "Orthogonal", config: { gain: 2, seed: 1 } }, [rows, columns]);
      const vectors =
        rows >= columns
          ? Array.from({ length: columns }, (_, c) => Array.from({ length: rows }, (__, r) => values[r * columns + c]!))
          : Array.from({ length: rows }, (_, r) => [...values.slice(r * columns, (r + 1) * columns)]);
      for (const [i, a] of vectors.entries()) {
        for (const [j, b] of vectors.entries()) {
          const dot = a.reduce((sum, value, k) => sum + value * b[k]!, 0);
          expect(dot).toBeCloseTo(i === j ? 4 : 0, 5);
        }
      }
    });
  }

  it("constants, identity, the bias of an LSTM", () => {
    expect([...draw("zeros", [3])]).toEqual([0, 0, 0]);
    expect([...draw("ones", [3])]).toEqual([1, 1, 1]);
    expect([...draw(2.5, [2])]).toEqual([2.5, 2.5]);
    expect([...draw({ class_name: "Identity", config: { gain: 3 } }, [2, 3])]).toEqual([3, 0, 0, 0, 3, 0]);
    const bias = initialize(unitForgetBias(parseInitializer(0.5)), [8], "float32");
    expect([...(bias as Float32Array)]).toEqual([0.5, 0.5, 1, 1, 0.5, 0.5, 0.5, 0.5]);
    expect([...float16ToFloat32(initialize(parseInitializer("ones"), [2], "float16") as Uint16Array)]).toEqual([1, 1]);
    expect([...(initialize(parseInitializer(3), [2], "int64") as BigInt64Array)]).toEqual([3n, 3n]);
  });

  it("Fourier kernels are Keras'", () => {
    const path = new URL("../fixtures/layers/stft.json", import.meta.url);
    const recorded = JSON.parse(readFileSync(path, "utf8")) as [JsonObject, number[]][];
    expect(recorded.length).toBe(60);
    for (const [config, values] of recorded) {
      const found = draw({ class_name: "STFT", config }, [8, 1, 5]);
      for (const [i, value] of values.entries()) expect(found[i]).toBeCloseTo(value, 5);
    }
  });

  it("fans", () => {
    expect(fans([])).toEqual([1, 1]);
    expect(fans([7])).toEqual([7, 7]);
    expect(fans([3, 3, 4, 8])).toEqual([36, 72]);
    expect(fans([4, 2, 3], [0], [1, 2])).toEqual([4, 6]);
  });

  it("a class of somebody else is kept, and is an error only when its values are needed", () => {
    const source = { module: "theirs", class_name: "Theirs", config: { a: 1 }, registered_name: "Theirs" };
    const model = sequential([layers.input([2]), layers.dense(2, { kernelInitializer: source })]);
    expect(initializerConfig(parseInitializer(source), "keras3")).toEqual(source);
    expect(() => model.getWeights()).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_UNSUPPORTED" }) as Error);
    model.setWeights([new Float32Array(4), new Float32Array(2)]);
    expect(model.getWeights()).toHaveLength(2);
  });

  it("a weight that nobody set or read holds no memory", () => {
    const model = sequential([layers.input([2]), layers.dense(2)]);
    expect(model.weights.map((weight) => weight.value)).toEqual([undefined, undefined]);
    const [kernel] = model.getWeights();
    expect(model.weights[0]!.value).toBe(kernel!.data);
    expect(model.getWeights()[0]!.data).toBe(kernel!.data);
  });
});
