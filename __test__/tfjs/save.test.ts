// The way back: models that TensorFlow.js made, saved for Keras. Here they come back into TensorFlow.js; the oracle's tests
// let Keras open them.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

import { loadLayersModel } from "../../ts/tfjs/load.ts";
import { saveModel } from "../../ts/tfjs/save.ts";
import { getWeights } from "../../ts/tfjs/weights.ts";
import { tf as TF } from "./predictions.ts";
import { fill, inputsOf, predicted, zoo } from "./zoo.ts";

let folder = "";
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "keras-weights-tfjs-save-"));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

const ways = (["keras2", "keras3"] as const).flatMap((flavor) =>
  (["keras", "h5"] as const).map((suffix) => ({ flavor, suffix })),
);

describe.each(ways)("$suffix of $flavor", ({ flavor, suffix }) => {
  it.each(zoo)("$name", async ({ name, make, refused, below }) => {
    const model = make();
    const file = join(folder, `${name}-${flavor}.${suffix}`);
    const reason = refused?.[flavor];
    if (reason !== undefined) {
      await expect(saveModel(model, file, { flavor })).rejects.toThrow(reason);
      return;
    }
    fill(model);
    await saveModel(model, file, { flavor });
    const again = await loadLayersModel(TF, file, { onNote: () => undefined });
    expect(getWeights(again, { flavor }).map(({ data }) => data)).toEqual(
      getWeights(model, { flavor }).map(({ data }) => data),
    );
    const inputs = inputsOf(model, below);
    expect(predicted(again, inputs)).toEqual(predicted(model, inputs));
  });
});
