// What another process can do to a file that is mapped, and what the one that mapped it sees of it. The table is that
// of docs/reliability.md.
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

import { layers, saveWeightsSync, sequential } from "keras-weights";

import { child, withFolder } from "./support.ts";

/** As in the child. */
const elements = 1 << 21;

/** The file that is mapped, and another one of the same size with other values. */
function write(folder: string): [file: string, other: string] {
  const model = sequential([layers.input([2]), layers.dense(elements / 2, { useBias: false })]);
  const [file, other] = [join(folder, "w.weights.h5"), join(folder, "other.weights.h5")];
  model.setWeights([Float32Array.from({ length: elements }, (_, k) => k % 65_521)]);
  saveWeightsSync(model, file);
  model.setWeights([new Float32Array(elements).fill(0.5)]);
  saveWeightsSync(model, other);
  return [file, other];
}

const quiet = { ...process.env, NODE_NO_WARNINGS: "1" };

interface Seen {
  /** Values that were not what the file had when it was opened. */
  readonly wrong: number;
  readonly inWorker: number;
  /** Mappings of the file, before and after. */
  readonly mapped: number;
  readonly after: number;
  readonly warnings: string[];
  readonly signals: number;
}

interface Outcome {
  readonly seen: Seen | undefined;
  /** The signal that ended the process, if one did. */
  readonly signal: string | null;
  readonly changed: boolean;
}

interface Case {
  readonly access?: "auto" | "map";
  /** The reader itself has the file open for writing when it maps it: no lease can be had. */
  readonly held?: boolean;
  /** The reader itself does it. */
  readonly self?: "truncate" | "write";
  /** What the other process does, as a shell script with `$f` and `$o`. */
  readonly script?: string;
}

const shell = (script: string, f: string, o: string): void => {
  const { status, stderr } = spawnSync("sh", ["-c", script], { env: { ...process.env, f, o }, encoding: "utf8" });
  if (status !== 0) throw new Error(`${script}: ${stderr}`);
};

/** Lets a process map a file, does something to the file, and asks what it saw. */
function watch({ access = "auto", held = false, self, script }: Case): Promise<Outcome> {
  return withFolder(async (folder) => {
    const [file, other] = write(folder);
    const before = readFileSync(file);
    const path = fileURLToPath(new URL("children/guarded.mjs", import.meta.url));
    const reader = spawn(process.execPath, [path, JSON.stringify({ file, access, held, self })], {
      stdio: ["pipe", "pipe", "inherit"],
      env: quiet,
    });
    const lines = createInterface({ input: reader.stdout })[Symbol.asyncIterator]();
    const ended = new Promise<string | null>((resolve) =>
      reader.once("exit", (_, signal) => {
        resolve(signal);
      }),
    );
    const { value: ready } = (await lines.next()) as { value: string | undefined };
    expect(ready).toBe("ready");
    if (script !== undefined) shell(script, file, other);
    reader.stdin.on("error", () => undefined);
    reader.stdin.end("done\n");
    const { value: line } = (await lines.next()) as { value: string | undefined };
    const signal = await ended;
    const now = existsSync(file) ? readFileSync(file) : undefined;
    return {
      seen: line === undefined ? undefined : (JSON.parse(line) as Seen),
      signal,
      changed: now === undefined || !before.equals(now),
    };
  });
}

const right = { wrong: 0, inWorker: 0, mapped: 6, signals: 3 };
// Each of two threads opened it three times.
const kept = { ...right, after: 0, warnings: Array<string>(6).fill("WARN_WEIGHTS_FILE_CHANGED") };
const untouched = { ...right, warnings: [] };

/** GNU truncate does not wait for a lease: it is refused once. */
const truncate = (size: number): string =>
  `n=0; until truncate -s ${size} "$f"; do n=$((n+1)); [ $n -lt 3000 ]; sleep 0.02; done 2>/dev/null`;

describe.runIf(process.platform === "linux")("a file that is mapped", { timeout: 120_000 }, () => {
  it.each([
    ["truncated to nothing", truncate(0)],
    ["truncated in the middle", truncate(5000)],
    ["emptied by a shell", `: > "$f"`],
    ["copied over", `cp "$o" "$f"`],
    ["overwritten in place", `dd if="$o" of="$f" conv=notrunc bs=1M 2>/dev/null`],
    ["written to through a read-write handle", `cat "$o" 1<> "$f"`],
    ["appended to", `printf more >> "$f"`],
    ["written to through a hard link", `ln "$f" "$f.link"; cat "$o" > "$f.link"`],
    ["written to a second time", `cat "$o" > "$f"; : > "$f"`],
  ])("and %s keeps its values, on both threads, and says so", async (_, script) => {
    const { seen, signal, changed } = await watch({ script });
    expect({ signal, changed }).toEqual({ signal: null, changed: true });
    expect(seen).toEqual(kept);
  });

  it.each([
    ["renamed over", `mv "$o" "$f"`, true],
    ["removed", `rm "$f"`, true],
    ["read", `cat "$f" > /dev/null`, false],
    [
      "linked and given other rights and times",
      `ln "$f" "$f.link"; chmod 600 "$f"; touch -h -d 2001-02-03 "$f"`,
      false,
    ],
  ])("and %s stays as it is", async (_, script, changed) => {
    expect(await watch({ script })).toMatchObject({ seen: { ...untouched, after: 6 }, signal: null, changed });
  });

  it.each(["truncate", "write"] as const)("may be written to by the process that mapped it (%s)", async (self) => {
    const { seen, signal, changed } = await watch({ self });
    expect({ signal, changed, wrong: seen?.wrong, inWorker: seen?.inWorker, after: seen?.after }).toEqual({
      signal: null,
      changed: true,
      wrong: 0,
      inWorker: 0,
      after: 0,
    });
  });

  it("is copied where somebody is writing to it, unless mapping is asked for", async () => {
    const { seen } = await watch({ held: true, script: truncate(0) });
    expect(seen).toMatchObject({ wrong: 0, inWorker: 0, mapped: 0, warnings: [] });
  });

  it("and cut without a lease being broken is an error of whoever asks for its values", () => {
    withFolder((folder) => {
      const [file] = write(folder);
      const changed = "ERR_WEIGHTS_CHANGED";
      const output = join(folder, "out.weights.h5");
      expect(child("lost.mjs", [file, String(elements / 2), output], { env: quiet })).toEqual({
        before: 7,
        left: 0,
        codes: [...Array<string>(2).fill("WARN_WEIGHTS_FILE_LOST"), ...Array<string>(6).fill(changed), "none", "none"],
      });
    });
  });

  it("holds writers up no longer than it is mapped", () => {
    withFolder((folder) => {
      const [file] = write(folder);
      expect(child("collected.mjs", [file], { env: quiet })).toEqual({ answers: ["EAGAIN", 3, "open"], more: 0 });
    });
  });

  it("without a lease ends the process when truncated, and changes silently when overwritten", async () => {
    expect(await watch({ access: "map", held: true, script: truncate(0) })).toMatchObject({ signal: "SIGBUS" });
    const { seen, signal } = await watch({ access: "map", held: true, script: `cat "$o" 1<> "$f"` });
    expect(signal).toBeNull();
    expect(seen?.wrong).toBeGreaterThan(elements);
    expect(seen?.warnings).toEqual([]);
  });
});
