// The variables of every optimizer of both Kerases, as Keras made them for one small model.
import { layers, Optimizer, sequential, type Flavor, type JsonObject, type Sequential } from "keras-weights";
import { expect, test } from "vitest";

import { own, readJson } from "./corpus.ts";

interface Recorded {
  readonly class: string;
  readonly legacy: boolean;
  readonly serialized: {
    module: string;
    class_name: string;
    config: JsonObject & { name: string };
    registered_name: null;
  };
  readonly variables: { name: string; shape: number[]; dtype: string; value?: number; first?: number }[];
}

function net(flavor: Flavor): Sequential {
  // Keras 2 names weights by the layers alone.
  const stack = [layers.input([3]), layers.embedding(7, 4), layers.dense(2), layers.batchNormalization()];
  return sequential(stack, { name: "net", flavor });
}

/** Keras 3 numbers what has no name of its own by a counter of the process. */
function plain(name: string): string {
  return name.replace(/^variable_\d+$/u, "variable");
}

const cases = (["keras3", "keras2"] as const).flatMap((flavor) => {
  const recorded = readJson(`${own}/optimizers/${flavor === "keras3" ? "k3" : "k2"}.json`) as Recorded[];
  return recorded.map((one, k) => ({
    flavor,
    one,
    title: `${flavor} ${k} ${one.class}${one.legacy ? ", legacy" : ""}`,
  }));
});

test("there are cases of both Kerases", () => {
  expect(cases.length).toBeGreaterThan(40);
});

test.each(cases)("$title", ({ flavor, one }) => {
  const model = net(flavor);
  // Automatic names count up in one process: the recorded ones are the first.
  const rename = (path: string): string => path.replaceAll(/(embedding|dense|batch_normalization)_\d+/gu, "$1");
  const optimizer = new Optimizer(one.serialized, flavor);
  expect(optimizer.legacy).toBe(one.legacy);
  optimizer.build(model.trainableWeights);
  expect(
    optimizer.variables.map(({ path, shape, dtype }) => ({ name: rename(plain(path)), shape: [...shape], dtype })),
  ).toEqual(one.variables.map(({ name, shape, dtype }) => ({ name: expectedName(one, plain(name)), shape, dtype })));
  optimizer.variables.forEach((variable, k) => {
    const { value, first = value } = one.variables[k]!;
    // A copy of a weight that Keras drew by chance.
    if (variable.path.includes("average") || one.class === "ScheduleFreeAdamW") return;
    expect(Number(variable.read()[0])).toBe(Math.fround(first!));
  });
  expect(optimizer.serialize()).toEqual(one.serialized);
});

/** Keras 2 names slots in the scope that is open: training opens the optimizer's. */
function expectedName({ serialized, legacy }: Recorded, name: string): string {
  if (serialized.module.startsWith("keras.optimizers.legacy")) return `${serialized.config.name}/${name}`;
  if (legacy || !name.endsWith(":0") || name === "iteration:0") return name;
  return `${serialized.config.name}/${name}`;
}

test("a name is enough", () => {
  expect(new Optimizer("adam", "keras3").className).toBe("Adam");
  expect(new Optimizer("adam", "keras2").legacy).toBe(false);
  expect(new Optimizer({ class_name: "Adam", config: { learning_rate: 0.5 } }, "keras2").legacy).toBe(true);
});

test("the variables hold no memory before they get values", () => {
  const optimizer = new Optimizer("adam", "keras3");
  optimizer.build(net("keras3").trainableWeights);
  expect(optimizer.variables.every(({ value }) => value === undefined)).toBe(true);
});
