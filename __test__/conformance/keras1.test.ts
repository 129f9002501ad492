/** Keras 1, CuDNN and GRU layouts, against what tf_keras' own converter made of them. */
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { isWeightsError, modelFromConfig } from "keras-weights";
import { corpusRoot, readJson, sha256 } from "../support/corpus.ts";
import { expectRows, Tally } from "../support/compatibility.ts";
import { kerasOneModel } from "../support/zoo.ts";

interface Case {
  file: string;
  model?: object;
  result?: { name: string; shape: number[]; sha256: string }[];
  exception?: [type: string, message: string];
}

const tally = new Tally();
afterAll(() => {
  process.stderr.write(`conformance, conversions: ${tally.toString()}\n`);
});

const cases = Object.entries(readJson(join(corpusRoot, "_keras1", "cases.json")) as Record<string, Case>);

describe("conversions of old layouts", () => {
  it.each(cases)("%s", async (name, entry) => {
    // Where tf_keras raised, its config was not recorded: the generator's builder says which model it was.
    const model = entry.model === undefined ? kerasOneModel(name) : modelFromConfig(entry.model);
    const load = model.loadWeights(join(corpusRoot, "_keras1", entry.file));
    if (entry.result !== undefined) {
      await load;
      const layer = model.layers.at(-1);
      expect(layer?.getWeights().map((t) => ({ shape: [...t.shape], sha256: sha256(t.data) }))).toEqual(
        entry.result.map((w) => ({ shape: w.shape, sha256: w.sha256 })),
      );
      tally.same += 1;
      return;
    }
    const raised = await load.then(
      () => undefined,
      (error: unknown) => {
        if (!isWeightsError(error)) throw error;
        return error.code;
      },
    );
    if (raised !== undefined) tally.same += 1;
    // tf_keras converts the inner layer twice and dies of it; a file of Keras 1 can be read all the same.
    else if (name.includes("td_conv1d")) tally.under("time-distributed-keras1", name);
    else expect.fail(`tf_keras raised ${entry.exception?.join(": ")}, we loaded`);
  });
});

it("meets its rows of the table", () => {
  expectRows("keras1", tally);
});
