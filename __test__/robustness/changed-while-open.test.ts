// A file that somebody writes to while it is open, and files that are read and written by several processes at once.
import { spawn } from "node:child_process";
import { mkdirSync, renameSync, truncateSync, writeFileSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

import { isWeightsError, openWeights, type WeightsFile } from "keras-weights";

import { containers, files, fill, numbers, save, someModel, type Container } from "./containers.ts";
import { withFolder } from "./support.ts";

/** Codes that say: not what it was when it was opened. */
const refused = ["ERR_WEIGHTS_CHANGED", "ERR_WEIGHTS_TRUNCATED"];

/** What asking for every tensor gives: the numbers among the values, and the codes of refusals. */
async function ask(file: WeightsFile, way: "get" | "read"): Promise<(number | string)[]> {
  const found = new Set<number | string>();
  for (const { path, dtype } of file.entries()) {
    if (dtype !== "float32") continue;
    try {
      const tensor = way === "get" ? file.get(path, "float32") : await file.read(path, { dtype: "float32" });
      for (const value of new Set(tensor.data)) found.add(value);
    } catch (error) {
      if (!isWeightsError(error)) throw error;
      found.add(error.code);
    }
  }
  return [...found];
}

/** The same container with 1 and with 2 in all places, each in a folder of its own. */
async function twoOf(container: Container, folder: string): Promise<[old: string, other: string]> {
  const folders = [join(folder, "old"), join(folder, "other")] as const;
  for (const [index, one] of folders.entries()) {
    mkdirSync(one);
    await save(fill(someModel(), index + 1), join(one, `w${container.suffix}`), container);
  }
  // Sharded saves name their files after their content: other names would be no change of these.
  expect(files(folders[0]).length).toBe(files(folders[1]).length);
  return [...folders];
}

type Change = (file: string, other: string) => void;
const inPlace: readonly (readonly [string, Change])[] = [
  [
    "overwritten",
    (file, other) => {
      writeFileSync(file, readFileSync(other), { flag: "r+" });
    },
  ],
  [
    "emptied",
    (file) => {
      truncateSync(file, 0);
    },
  ],
  [
    "cut",
    (file) => {
      truncateSync(file, Math.floor(statSync(file).size / 2));
    },
  ],
  [
    "replaced by other content",
    (file) => {
      writeFileSync(file, "<html>");
    },
  ],
];

describe.each(containers)("$name", (container) => {
  it.each(["copy", "auto"] as const)(
    "that changes while it is open gives old values or an error (%s)",
    async (access) => {
      for (const [what, change] of inPlace) {
        for (const way of ["get", "read"] as const) {
          await withFolder(async (folder) => {
            const [old, other] = await twoOf(container, folder);
            const file = await openWeights(join(old, `w${container.suffix}`), { access, verify: "off" });
            const names = files(other);
            for (const [index, name] of files(old).entries()) change(join(old, name), join(other, names[index]!));
            for (const answer of await ask(file, way)) expect([1, ...refused], `${what}, ${way}`).toContain(answer);
            file.close();
          });
        }
      }
    },
  );

  it("whose values were seen keeps them, and says what it cannot give any more", async () => {
    for (const [what, change] of inPlace) {
      await withFolder(async (folder) => {
        const [old, other] = await twoOf(container, folder);
        const file = await openWeights(join(old, `w${container.suffix}`));
        const before = file.entries().filter(({ dtype }) => dtype === "float32");
        const seen = before.map(({ path }) => file.get(path, "float32").data);
        const names = files(other);
        for (const [index, name] of files(old).entries()) change(join(old, name), join(other, names[index]!));
        expect([...new Set(seen.flatMap((data) => [...new Set(data)]))], what).toEqual([1]);
        for (const answer of await ask(file, "get")) expect([1, ...refused], what).toContain(answer);
        await expect(file.verify(), what).rejects.toSatisfy(
          (error) => isWeightsError(error) && refused.includes(error.code),
        );
        file.close();
      });
    }
  });

  it("that is replaced by renaming keeps its values", async () => {
    await withFolder(async (folder) => {
      const [old, other] = await twoOf(container, folder);
      const file = await openWeights(join(old, `w${container.suffix}`), { access: "copy" });
      const names = files(other);
      for (const [index, name] of files(old).entries()) renameSync(join(other, names[index]!), join(old, name));
      expect(await ask(file, "read")).toEqual([1]);
      file.close();
    });
  });

  it("is old or new for whoever reads while another process saves", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, `w${container.suffix}`);
      await save(fill(someModel(), 1), path, container);
      const saver = saving(container, path, 2, 25);
      let last = 1;
      let reads = 0;
      const model = someModel();
      while (!saver.ended() || reads < 5) {
        await model.loadWeights(path);
        const [value, ...others] = numbers(model);
        expect(others).toEqual([]);
        expect(value).toBeGreaterThanOrEqual(last);
        last = value!;
        reads += 1;
      }
      expect(await saver.failed).toEqual([]);
      await model.loadWeights(path);
      expect(numbers(model)).toEqual([26]);
    });
  });

  it("is one or the other after two processes saved under its name", async () => {
    await withFolder(async (folder) => {
      const path = join(folder, `w${container.suffix}`);
      await save(fill(someModel(), 1), path, container);
      const both = [saving(container, path, 1000, 15), saving(container, path, 2000, 15)];
      expect(await Promise.all(both.map(({ failed }) => failed))).toEqual([[], []]);
      const model = someModel();
      await model.loadWeights(path);
      expect([[1014], [2014]]).toContainEqual(numbers(model));
      // What one save leaves, and nothing else, once somebody saves again.
      await save(fill(model, 5), path, container);
      const alone = join(folder, "alone");
      mkdirSync(alone);
      // Twice: over weights that are there, shards get other names, and Keras' first name stays.
      for (let k = 0; k < 2; k++) await save(model, join(alone, `w${container.suffix}`), container);
      expect(files(folder).filter((name) => name !== "alone").length).toBe(files(alone).length);
      await model.loadWeights(path);
      expect(numbers(model)).toEqual([5]);
    });
  });
});

/** A process that saves under one name so many times, with other values each time. */
function saving(
  { whole = false, options = {} }: Container,
  path: string,
  first: number,
  count: number,
): { failed: Promise<string[]>; ended: () => boolean } {
  const script = fileURLToPath(new URL("children/saver.mjs", import.meta.url));
  const args = [path, first, count, whole, JSON.stringify(options)].map(String);
  const child = spawn(process.execPath, [script, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  let ended = false;
  child.once("exit", () => (ended = true));
  const failed = (async () => {
    const lines: string[] = [];
    for await (const line of createInterface({ input: child.stdout })) lines.push(line);
    return JSON.parse(lines[1] ?? '["it ended early"]') as string[];
  })();
  return { failed, ended: () => ended };
}
