// The programs of docs/custom-layers.md, and what they are for.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, describe as suite, expect, it } from "vitest";

import { modelFromConfig } from "../../ts/config/read.ts";
import * as api from "../../ts/index.ts";
import { openWeightsSync } from "../../ts/io/open.ts";
import type { LayerFactory } from "../../ts/layers/factory.ts";
import type { Fields } from "../../ts/layers/fields.ts";
import { layers } from "../../ts/layers/index.ts";
import { Layer } from "../../ts/model/layer.ts";
import { clearSession } from "../../ts/model/naming.ts";
import { sequential } from "../../ts/model/sequential.ts";

const folder = mkdtempSync(join(tmpdir(), "custom-layers-"));
afterAll(() => {
  rmSync(folder, { recursive: true });
});

const docs = readFileSync(fileURLToPath(new URL("../../docs/custom-layers.md", import.meta.url)), "utf8");
const programs = [...docs.matchAll(/^```ts\n(.*?)^```$/gms)].map((match) => match[1] ?? "");

/** Runs a program of the page against this package's source and gives what it exports. */
async function run(program: string): Promise<Record<string, unknown>> {
  const file = join(folder, `program${String(programs.indexOf(program))}.ts`);
  const source = fileURLToPath(new URL("../../ts/index.ts", import.meta.url));
  writeFileSync(file, program.replaceAll('"keras-weights"', JSON.stringify(source)));
  return (await import(file)) as Record<string, unknown>;
}

suite("docs/custom-layers.md", () => {
  it("a definition: built, named, written, read, saved and loaded", async () => {
    clearSession();
    const { affineLayer } = (await run(programs[0]!)) as { affineLayer: LayerFactory<Fields> };
    const options = { useShift: false } as object;
    const model = sequential([layers.input([4]), affineLayer(options), affineLayer(), layers.dense(2)]);
    const paths = [
      "sequential/affine/scale",
      "sequential/affine_1/scale",
      "sequential/affine_1/shift",
      "sequential/dense/kernel",
      "sequential/dense/bias",
    ];
    expect(model.weights.map((weight) => weight.path)).toEqual(paths);
    clearSession();
    const again = modelFromConfig(JSON.stringify(model.toJSON()).replaceAll('"Affine"', '"Custom>Affine"'));
    expect(again.weights.map((weight) => weight.path)).toEqual(paths);
    model.setWeights(model.weights.map(({ size }, i) => new Float32Array(size).fill(i)));
    const file = join(folder, "affine.weights.h5");
    model.saveWeightsSync(file);
    again.loadWeightsSync(file);
    expect(again.getWeights().map(({ data }) => data)).toEqual(model.getWeights().map(({ data }) => data));
    expect(openWeightsSync(file).has("layers/affine_1/vars/1")).toBe(true);
    expect(() => affineLayer({ shift: true } as object)).toThrow(/no option "shift"/);
  });

  it("a class with layers inside", async () => {
    clearSession();
    await run(programs[1]!);
    const model = modelFromConfig({
      class_name: "Sequential",
      config: {
        name: "s",
        layers: [
          { module: "keras.layers", class_name: "InputLayer", config: { batch_shape: [null, 3], name: "i" } },
          { module: null, class_name: "Residual", config: { name: "r", units: 5 }, registered_name: "Residual" },
        ],
      },
      module: "keras",
    });
    expect(model.weights.map(({ path, shape }) => [path, shape])).toEqual([
      ["s/r/dense/kernel", [3, 5]],
      ["s/r/dense/bias", [5]],
      ["s/r/layer_normalization/gamma", [5]],
      ["s/r/layer_normalization/beta", [5]],
      ["s/r/layer_normalization_1/gamma", [5]],
      ["s/r/layer_normalization_1/beta", [5]],
    ]);
    const file = join(folder, "residual.weights.h5");
    model.saveWeightsSync(file);
    const paths = openWeightsSync(file)
      .entries()
      .map(({ path }) => path);
    expect(paths).toContain("layers/residual/norms/layer_normalization_1/vars/0");
  });

  it("names of Keras' own classes are taken", () => {
    class Dense extends Layer {
      static override readonly className = "Dense";
    }
    for (const taken of [Dense, Layer as never]) {
      expect(() => {
        api.registerLayer(taken);
      }).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_NAME" }) as Error);
    }
  });
});

suite("classes that nobody declared", () => {
  const unknown = {
    module: "keras",
    class_name: "Sequential",
    config: {
      name: "s",
      layers: [
        { module: "keras.layers", class_name: "InputLayer", config: { batch_shape: [null, 3], name: "i" } },
        {
          module: "their.code",
          class_name: "Their>Magic",
          config: { name: "magic", spell: "x" },
          registered_name: "Their>Magic",
        },
        {
          module: "keras.layers",
          class_name: "Dense",
          config: { name: "d", units: 2 },
          build_config: { input_shape: [null, 4] },
        },
      ],
    },
  };

  it("are named when their weights are asked for", () => {
    const model = modelFromConfig(unknown);
    const error = { code: "ERR_WEIGHTS_UNKNOWN_LAYER", layer: "magic" };
    expect(() => model.weights).toThrow(expect.objectContaining(error) as Error);
    expect(() => model.getWeights()).toThrow(/Magic/);
    expect(() => {
      model.saveWeightsSync(join(folder, "no.weights.h5"));
    }).toThrow(expect.objectContaining(error) as Error);
  });

  it("get the weights that a file has for them", async () => {
    class Magic extends Layer {
      static override readonly className = "Magic";
      override build(): void {
        this.addWeight({ name: "wand", shape: [2, 3], initializer: "ones" });
        this.addWeight({ name: "hat", shape: [], initializer: "ones" });
      }
      override computeOutputShape(): number[] {
        return [1, 4];
      }
    }
    const teacher = sequential([layers.input([3]), new Magic({ name: "magic" }), layers.dense(2, { name: "d" })]);
    const values = teacher.weights.map(({ size }, i) => new Float32Array(size).fill(i + 1));
    teacher.setWeights(values);
    for (const [name, weights] of [
      ["magic.weights.h5", ["variable_0", "variable_1"]],
      ["magic.h5", ["wand", "hat"]],
    ] as const) {
      const file = join(folder, name);
      teacher.saveWeightsSync(file);
      const model = modelFromConfig(unknown);
      await model.loadWeights(file);
      expect(model.getWeights().map(({ data }) => data)).toEqual(values);
      expect(model.getLayer("magic").weights.map((weight) => weight.name)).toEqual(weights);
      expect(model.getLayer("magic").weights.map(({ shape }) => shape)).toEqual([[2, 3], []]);
      const copy = join(folder, `copy-${name}`);
      model.saveWeightsSync(copy);
      teacher.loadWeightsSync(copy);
      expect(model.toJSON()).toMatchObject(unknown);
      const other = join(folder, name === "magic.h5" ? "other.weights.h5" : "other.h5");
      expect(() => model.saveWeightsSync(other)).toThrow(
        expect.objectContaining({ code: "ERR_WEIGHTS_UNKNOWN_LAYER", layer: "magic" }) as Error,
      );
    }
  });

  it("get what a file has below them, and forget it when the load fails", async () => {
    class Magic extends Layer {
      static override readonly className = "Magic";
      wand = layers.dense(2);
      runes = [layers.dense(1), layers.layerNormalization()];
      override build(): void {
        this.addWeight({ name: "hat", shape: [3], initializer: "ones" });
        this.wand.build([null, 3]);
        for (const rune of this.runes) rune.build([null, 5]);
      }
      override computeOutputShape(): number[] {
        return [1, 4];
      }
    }
    const teacher = sequential([layers.input([3]), new Magic({ name: "magic" }), layers.dense(2, { name: "d" })]);
    teacher.setWeights(teacher.weights.map(({ size }, i) => new Float32Array(size).fill(i + 1)));
    const file = join(folder, "deep.weights.h5");
    teacher.saveWeightsSync(file);
    const model = modelFromConfig(unknown);
    await model.loadWeights(file);
    expect(model.countParams()).toBe(teacher.countParams());
    const copy = join(folder, "deep-copy.weights.h5");
    await model.saveWeights(copy);
    const [theirs, ours] = [file, copy].map((path) => {
      const opened = openWeightsSync(path);
      return opened.entries().map(({ path: name }) => [name, opened.get(name).data]);
    });
    expect(ours).toEqual(theirs);
    const wrong = modelFromConfig(JSON.stringify(unknown).replace('"units":2', '"units":7'));
    await expect(wrong.loadWeights(file)).rejects.toMatchObject({ code: "ERR_WEIGHTS_SHAPE" });
    expect(() => wrong.weights).toThrow(expect.objectContaining({ code: "ERR_WEIGHTS_UNKNOWN_LAYER" }) as Error);
  });
});
