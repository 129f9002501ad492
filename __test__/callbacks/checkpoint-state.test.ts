import { mkdir, mkdtemp, readdir, readFile, rm, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

import { latestCheckpoint } from "../../ts/callbacks/checkpoint-state.ts";
import { ModelCheckpoint, type CheckpointModel } from "../../ts/callbacks/model-checkpoint.ts";

let folder = "";
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "keras-weights-state-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

interface FakeModel extends CheckpointModel {
  readonly loaded: string[];
}

/** Writes a text for weights. */
function fakeModel(): FakeModel {
  const loaded: string[] = [];
  return {
    loaded,
    saveWeights: (path) => writeFile(path, "weights"),
    loadWeights: async (path) => void loaded.push(path),
  };
}

const files = async (): Promise<string[]> => (await readdir(folder)).sort();

describe("keep", () => {
  it("leaves the newest checkpoints and the state", async () => {
    const path = join(folder, "{epoch:02d}.weights.h5");
    const callback = new ModelCheckpoint(path, { model: fakeModel(), saveWeightsOnly: true, keep: 2 });
    for (let epoch = 0; epoch < 4; epoch += 1) await callback.onEpochEnd(epoch, { val_loss: 1 / (epoch + 1) });
    expect(await files()).toEqual(["03.weights.h5", "04.weights.h5", "epoch.weights.h5.checkpoints.json"]);
    expect(JSON.parse(await readFile(join(folder, "epoch.weights.h5.checkpoints.json"), "utf8"))).toEqual({
      version: 1,
      saved: [
        { path: "03.weights.h5", epoch: 2, value: 1 / 3 },
        { path: "04.weights.h5", epoch: 3, value: 0.25 },
      ],
    });
  });

  it("goes on with the checkpoints of an earlier process", async () => {
    const path = join(folder, "{epoch}.weights.h5");
    for (let epoch = 0; epoch < 3; epoch += 1) {
      const callback = new ModelCheckpoint(path, { model: fakeModel(), saveWeightsOnly: true, keep: 2 });
      await callback.onEpochEnd(epoch, {});
    }
    expect(await files()).toEqual(["2.weights.h5", "3.weights.h5", "epoch.weights.h5.checkpoints.json"]);
  });

  it("does not remove a file that was written again", async () => {
    const callback = new ModelCheckpoint(join(folder, "w.weights.h5"), {
      model: fakeModel(),
      saveWeightsOnly: true,
      keep: 1,
      state: false,
    });
    for (let epoch = 0; epoch < 3; epoch += 1) await callback.onEpochEnd(epoch, {});
    expect(await files()).toEqual(["w.weights.h5"]);
  });

  it("removes every file of a TensorFlow checkpoint and of a sharded one, and no others", async () => {
    const parts = ["", "-00000-of-00002", "-00001-of-00002"];
    const model: CheckpointModel = {
      saveWeights: async (path) => {
        await writeFile(`${path}.index`, "");
        for (const part of parts.slice(1)) await writeFile(`${path}.data${part}`, "");
      },
    };
    await writeFile(join(folder, "cp-10.data-00000-of-00001"), "another's");
    await writeFile(join(folder, "cp-1.note"), "another's");
    const callback = new ModelCheckpoint(join(folder, "cp-{epoch}"), {
      model,
      flavor: "keras2",
      saveWeightsOnly: true,
      keep: 1,
      state: false,
    });
    await callback.onEpochEnd(0, {});
    await callback.onEpochEnd(1, {});
    expect(await files()).toEqual([
      ...["cp-1.note", "cp-10.data-00000-of-00001"],
      ...["cp-2.data-00000-of-00002", "cp-2.data-00001-of-00002", "cp-2.index"],
    ]);
  });

  it("removes shards that an index names, but nothing outside its folder", async () => {
    await mkdir(join(folder, "in"));
    await writeFile(join(folder, "victim.h5"), "stays");
    const model: CheckpointModel = {
      saveWeights: async (path) => {
        const shard = path.replace(".weights.json", "_00000.weights.h5");
        await writeFile(shard, "");
        const name = shard.slice(shard.lastIndexOf("/") + 1);
        await writeFile(path, JSON.stringify({ weight_map: { "/a/vars": [name], "/b/vars": "../victim.h5" } }));
      },
    };
    const callback = new ModelCheckpoint(join(folder, "in", "{epoch}.weights.json"), {
      model,
      flavor: "keras2",
      saveWeightsOnly: true,
      keep: 1,
      state: false,
    });
    await callback.onEpochEnd(0, {});
    await callback.onEpochEnd(1, {});
    expect((await readdir(join(folder, "in"))).sort()).toEqual(["2.weights.json", "2_00000.weights.h5"]);
    expect(await files()).toEqual(["in", "victim.h5"]);
  });

  it.each([0, -1, 1.5])("refuses %s", (keep) => {
    expect(() => new ModelCheckpoint("w.weights.h5", { keep, saveWeightsOnly: true })).toThrow(
      expect.objectContaining({ code: "ERR_WEIGHTS_ARGUMENT" }),
    );
  });
});

describe("restore", () => {
  it("loads the newest checkpoint, and goes on with epoch and best value", async () => {
    const path = join(folder, "{epoch}-{val_loss:.1f}.weights.h5");
    const options = { saveWeightsOnly: true, saveBestOnly: true, state: true } as const;
    const first = new ModelCheckpoint(path, { model: fakeModel(), ...options });
    for (const [epoch, val_loss] of [0.9, 0.5, 0.7].entries()) await first.onEpochEnd(epoch, { val_loss });

    const model = fakeModel();
    const second = new ModelCheckpoint(path, { model, ...options });
    const best = join(folder, "2-0.5.weights.h5");
    expect(await second.restore()).toEqual({ path: best, initialEpoch: 2, best: 0.5 });
    expect(model.loaded).toEqual([best]);
    expect(second.best).toBe(0.5);
    await second.onEpochEnd(2, { val_loss: 0.6 });
    expect((await files()).filter((name) => name.endsWith(".h5"))).toEqual(["1-0.9.weights.h5", "2-0.5.weights.h5"]);
    await second.onEpochEnd(3, { val_loss: 0.4 });
    expect(await latestCheckpoint(path)).toEqual({
      path: join(folder, "4-0.4.weights.h5"),
      initialEpoch: 4,
      best: 0.4,
    });
  });

  it("repeats an epoch that was not done", async () => {
    const path = join(folder, "e{epoch}b{batch}.weights.h5");
    const model = fakeModel();
    const callback = new ModelCheckpoint(path, { model, saveWeightsOnly: true, saveFreq: 3, state: true });
    for (let epoch = 0; epoch < 2; epoch += 1) {
      await callback.onEpochBegin(epoch);
      for (let batch = 0; batch < 4; batch += 1) await callback.onTrainBatchEnd(batch, {});
    }
    expect(await callback.restore()).toEqual({ path: join(folder, "e2b2.weights.h5"), initialEpoch: 1, batch: 1 });
  });

  it("takes the one before when the newest is gone", async () => {
    const path = join(folder, "{epoch}.weights.h5");
    const callback = new ModelCheckpoint(path, { model: fakeModel(), saveWeightsOnly: true, keep: 3 });
    for (let epoch = 0; epoch < 3; epoch += 1) await callback.onEpochEnd(epoch, {});
    await rm(join(folder, "3.weights.h5"));
    expect(await callback.restore()).toEqual({ path: join(folder, "2.weights.h5"), initialEpoch: 2 });
  });

  it("keeps values that JSON has no word for", async () => {
    const path = join(folder, "w.weights.h5");
    const options = { model: fakeModel(), saveWeightsOnly: true, saveBestOnly: true, state: true } as const;
    await new ModelCheckpoint(path, options).onEpochEnd(0, { val_loss: Number.NaN });
    expect(await latestCheckpoint(path)).toEqual({ path, initialEpoch: 1, best: Number.NaN });
  });

  it("says undefined when there is nothing, and refuses a damaged state", async () => {
    const callback = new ModelCheckpoint(join(folder, "w.weights.h5"), {
      model: fakeModel(),
      saveWeightsOnly: true,
      state: true,
    });
    expect(await callback.restore()).toBeUndefined();
    await writeFile(join(folder, "w.weights.h5.checkpoints.json"), '{"version":1,"saved":[{}]}');
    await expect(callback.restore()).rejects.toMatchObject({ code: "ERR_WEIGHTS_CORRUPT" });
  });
});

describe("latestCheckpoint without a state", () => {
  const touch = async (name: string, time: number): Promise<void> => {
    await writeFile(join(folder, name), "");
    await utimes(join(folder, name), time, time);
  };

  it("takes the file that was changed last", async () => {
    await touch("01.weights.h5", 100);
    await touch("02.weights.h5", 300);
    await touch("03.weights.h5", 200);
    await touch("other.h5", 400);
    expect(await latestCheckpoint(join(folder, "{epoch:02d}.weights.h5"))).toEqual({
      path: join(folder, "02.weights.h5"),
    });
  });

  it("takes the greatest name of those changed at the same time", async () => {
    for (const name of ["b3e2.keras", "b2e2.keras", "b1e1.keras"]) await touch(name, 100);
    expect(await latestCheckpoint(join(folder, "b{batch}e{epoch}.keras"))).toEqual({
      path: join(folder, "b3e2.keras"),
    });
  });

  it("gives the prefix of a TensorFlow checkpoint", async () => {
    for (const name of ["cp-1.index", "cp-1.data-00000-of-00001", "cp-2.index", "cp-2.data-00000-of-00001"]) {
      await touch(name, name.startsWith("cp-2") ? 200 : 100);
    }
    expect(await latestCheckpoint(join(folder, "cp-{epoch}"))).toEqual({ path: join(folder, "cp-2") });
  });

  it("looks into folders that the path makes up", async () => {
    for (const epoch of [1, 2]) {
      await mkdir(join(folder, `e${epoch}`));
      await touch(`e${epoch}/w.weights.h5`, epoch * 100);
    }
    expect(await latestCheckpoint(join(folder, "e{epoch}", "w.weights.h5"))).toEqual({
      path: join(folder, "e2", "w.weights.h5"),
    });
  });
});

describe("saves", () => {
  it("never overlap, and one that fails does not stop the next", async () => {
    let running = 0;
    const done: string[] = [];
    const model: CheckpointModel = {
      saveWeights: async (path) => {
        running += 1;
        expect(running).toBe(1);
        await new Promise((resolve) => setTimeout(resolve, 5));
        running -= 1;
        if (path.endsWith("2.weights.h5")) throw new Error("disk full");
        done.push(path);
      },
    };
    const callback = new ModelCheckpoint(join(folder, "{epoch}.weights.h5"), { model, saveWeightsOnly: true });
    const all = await Promise.allSettled([0, 1, 2].map((epoch) => callback.onEpochEnd(epoch, {})));
    expect(all.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
    expect(done.map((path) => path.slice(folder.length + 1))).toEqual(["1.weights.h5", "3.weights.h5"]);
    await callback.onTrainEnd();
  });

  it("to a folder are refused", async () => {
    await mkdir(join(folder, "w.weights.h5"));
    const callback = new ModelCheckpoint(join(folder, "w.weights.h5"), { model: fakeModel(), saveWeightsOnly: true });
    await expect(callback.onEpochEnd(0, {})).rejects.toMatchObject({ code: "ERR_WEIGHTS_IO" });
  });

  it("need a model, and a model that can be saved whole", async () => {
    const path = join(folder, "w.keras");
    await expect(new ModelCheckpoint(path).onEpochEnd(0, {})).rejects.toMatchObject({ code: "ERR_WEIGHTS_ARGUMENT" });
    const model = { saveWeights: async () => undefined };
    await expect(new ModelCheckpoint(path, { model }).onEpochEnd(0, {})).rejects.toMatchObject({
      code: "ERR_WEIGHTS_ARGUMENT",
    });
  });
});
