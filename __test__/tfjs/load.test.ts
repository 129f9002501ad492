import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

import { loadLayersModel } from "../../ts/tfjs/load.ts";
import { translateConfig } from "../../ts/tfjs/translate.ts";
import { corpus, corpusModels, own, readJson } from "../model/corpus.ts";
import { refusedClasses } from "./expressible.ts";
import { predictionError, tf } from "./predictions.ts";

/** What Keras saves models in; the config beside it where there are weights alone. */
const kinds = {
  keras2: [
    { file: "weights.h5", whole: false },
    { file: "v3.weights.h5", whole: false },
    { file: "ckpt/w", whole: false },
    { file: "full.h5", whole: true },
    { file: "v3.keras", whole: true },
  ],
  keras3: [
    { file: "model.weights.h5", whole: false },
    { file: "legacy_weights.h5", whole: false },
    { file: "shard/model.weights.json", whole: false },
    { file: "legacy_full.h5", whole: true },
    { file: "model.keras", whole: true },
  ],
} as const;
/** Whether this is the large corpus, and what the project's own part of it lacks. */
const complete = corpus !== own;
const largeOnly: ReadonlySet<string> = new Set(["shard/model.weights.json"]);

const models = corpusModels("config.json").map((model) => ({ ...model, refused: refusedClasses(model.id) }));
const possible = models.filter(({ refused: classes }) => classes === undefined);

describe("models of the corpus", () => {
  it("are not all refused", () => {
    expect(possible.length).toBeGreaterThanOrEqual(18);
  });

  it.each(models.filter(({ refused: classes }) => classes !== undefined))(
    "$id is refused, with every class named",
    ({ folder, refused: classes }) => {
      const found = translateConfig(readJson(join(folder, "config.json")) as object).refused;
      expect([...new Set(found.map(({ className }) => className))].sort()).toEqual(classes);
    },
  );

  // A corpus without a file of some kind has none of the model in that kind; the kinds themselves are counted below.
  const sources = possible.flatMap((model) =>
    kinds[model.flavor]
      .filter(({ file }) => existsSync(join(model.folder, file === "ckpt/w" ? `${file}.index` : file)))
      .map((kind) => ({ ...model, ...kind })),
  );

  it("come in every kind of file", () => {
    for (const flavor of ["keras2", "keras3"] as const) {
      const found = new Set(sources.filter((one) => one.flavor === flavor).map(({ file }) => file));
      const wanted = kinds[flavor].map(({ file }) => file);
      expect([...found].sort()).toEqual(wanted.filter((file) => complete || !largeOnly.has(file)).sort());
    }
  });

  it.each(sources)("$id predicts as Keras, from $file", async ({ folder, file, whole }) => {
    const config = whole ? undefined : join(folder, "config.json");
    const model = await loadLayersModel(tf, join(folder, file), { config, onNote: () => undefined });
    expect(predictionError(model, folder)).toBeLessThanOrEqual(1e-5);
    model.dispose();
  });

  it("of users' own classes are refused by name", async () => {
    await expect(loadLayersModel(tf, join(corpus, "subclassed", "k3", "model.keras"))).rejects.toMatchObject({
      code: "ERR_WEIGHTS_UNSUPPORTED",
      message: expect.stringContaining("Sequential and functional models only") as string,
    });
  });

  it.each(
    ["keras-2.12", "keras-3.0.5"].flatMap((release) =>
      ["cnn_bn", "compiled_adam", "dropout_seeds", "gru", "nested_functional", "offset_names", "shared_layers"].map(
        (name) => ({ release, name, folder: join(corpus, "_old", release, name) }),
      ),
    ),
  )("$release $name predicts as Keras", async ({ folder }) => {
    const config = join(folder, "config.json");
    const model = await loadLayersModel(tf, join(folder, "m.weights.h5"), { config, onNote: () => undefined });
    expect(predictionError(model, folder)).toBeLessThanOrEqual(1e-5);
    model.dispose();
  });

  it.each(["float16_float64", "mixed_bfloat16", "pure_bfloat16"])(
    "%s is taken when float32 will do, and is near Keras' half precision",
    async (name) => {
      const folder = join(corpus, name, "k3");
      const model = await loadLayersModel(tf, join(folder, "model.weights.h5"), {
        config: join(folder, "config.json"),
        dtype: "float32",
      });
      expect(predictionError(model, folder)).toBeLessThanOrEqual(0.05);
      model.dispose();
    },
  );
});
