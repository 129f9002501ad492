import { execFileSync, type ExecFileSyncOptions } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { isWeightsError, type Target, type WeightsError } from "keras-weights";

import type { RawArray } from "../../ts/dtype.ts";

/** A file of the repository's own fixtures. */
export function fixture(path: string): string {
  return fileURLToPath(new URL(`../fixtures/${path}`, import.meta.url));
}

/** A folder of its own for one use. */
export function withFolder<T>(use: (folder: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), "keras-weights-"));
  const remove = (): void => {
    rmSync(folder, { recursive: true, force: true });
  };
  let result: T;
  try {
    result = use(folder);
  } catch (error) {
    remove();
    throw error;
  }
  if (result instanceof Promise) return result.finally(remove) as T;
  remove();
  return result;
}

/** The error that a call or promise ends with; fails when it ends well. */
export async function failure(run: () => unknown): Promise<WeightsError> {
  try {
    await run();
  } catch (error) {
    if (isWeightsError(error)) return error;
    throw error;
  }
  throw new Error("there was no error");
}

/** A weight whose values a test holds in its hands. */
export class Weight {
  readonly dtype = "float32";
  version = 0;
  value: Float32Array;
  readonly path: string;

  constructor(path: string, value: Float32Array) {
    this.path = path;
    this.value = value;
  }

  read(): Float32Array {
    return this.value;
  }

  replace(raw: RawArray): void {
    this.value = raw as Float32Array;
    this.version += 1;
  }
}

/** A described model whose values a test holds in its hands. */
export interface Kernels extends Target {
  readonly variables: readonly Weight[];
}

/** A Sequential model of layers with one kernel each. */
export function kernels(...values: Float32Array[]): Kernels {
  const variables = values.map((value, k) => new Weight(`sequential/layer_${k}/kernel`, value));
  const layer = (k: number): object => ({
    class: "Dense",
    name: `layer_${k}`,
    kind: "layer",
    trainableVariables: [k],
    nonTrainableVariables: [],
  });
  const numbers = values.map((_, k) => k + 1);
  const tree = {
    version: 1,
    flavor: "keras3",
    root: 0,
    variables: variables.map(({ path, value }) => ({
      name: "kernel",
      path,
      dtype: "float32",
      shape: [value.length],
      trainable: true,
    })),
    nodes: [
      { class: "Sequential", name: "sequential", kind: "sequential", layers: numbers, sublayers: numbers },
      ...variables.map((_, k) => layer(k)),
    ],
  };
  return { tree, nodes: [{}, ...variables], variables };
}

/** Runs a script of `children` in a Node process of its own and gives the JSON that it prints. */
export function child(script: string, args: readonly string[], options: ExecFileSyncOptions = {}): unknown {
  const path = fileURLToPath(new URL(`children/${script}`, import.meta.url));
  const text = execFileSync(process.execPath, ["--expose-gc", path, ...args], { encoding: "utf8", ...options });
  return JSON.parse(String(text));
}
