import { fileURLToPath } from "node:url";

import { WeightsError } from "../errors.ts";
import { argumentError } from "./job.ts";

/** Where weights are read from: a path, a `file:` URL, or the bytes of a file. */
export type Source = string | URL | Uint8Array;

/** Ceilings for what a file may make us do. What is left out keeps its default. */
export interface Limits {
  /** Bytes of all tensors of a file. Default 16 TiB. */
  readonly maxTotalBytes?: number;
  /** Bytes of one tensor. Default 4 TiB. */
  readonly maxTensorBytes?: number;
  /** Tensors in one file. Default 4,000,000. */
  readonly maxTensors?: number;
  /** Bytes of all attributes of one object. Default 256 MiB. */
  readonly maxAttributeBytes?: number;
  /** Groups within groups. Default 128. */
  readonly maxDepth?: number;
  /** Bytes of metadata. Default 1 GiB. */
  readonly maxHeaderBytes?: number;
  /** Decoded bytes per stored byte. Default 1,100. */
  readonly maxInflateRatio?: number;
}

/** How values come into memory. */
export interface ReadOptions {
  /**
   * `"auto"` (default) maps a local file where a read lease guards it against writers (Linux; see
   * docs/reliability.md) and copies elsewhere; `"map"` maps without a guard, too, where the caller takes the risk, and
   * fails where it cannot map; `"copy"` copies. Tensors that are compressed or not aligned are copied always.
   */
  readonly access?: "auto" | "map" | "copy" | undefined;
  /**
   * When the digests are compared that our own files carry: `"load"` before the call is done, `"lazy"` at the first
   * touch of each tensor, `"off"` never.
   */
  readonly verify?: "load" | "lazy" | "off" | undefined;
  readonly limits?: Limits | undefined;
}

/** The names of {@link ReadOptions}. */
export const readOptionNames: readonly string[] = ["access", "verify", "limits"];

/** The path that a caller meant. */
export function pathOf(target: string | URL): string {
  if (typeof target === "string") {
    if (target === "") throw argumentError("the path is empty");
    return target;
  }
  if (target instanceof URL && target.protocol === "file:") return fileURLToPath(target);
  throw argumentError(`weights are read from a path, a file: URL or bytes, not from ${String(target)}`);
}

/** A source in the form that the addon takes. */
export function splitSource(source: Source): [path: string | undefined, bytes: Uint8Array | undefined] {
  if (source instanceof Uint8Array) {
    // The addon reads no memory that another thread may be writing to.
    return [undefined, source.buffer instanceof SharedArrayBuffer ? source.slice() : source];
  }
  return [pathOf(source), undefined];
}

/** Bytes of the largest buffer over foreign memory: a limit of Node 20 alone. */
function windowLimit(): number | undefined {
  const major = Number(process.versions.node.split(".")[0]);
  return major < 22 ? 2 ** 32 : undefined;
}

/** Options in the form that the addon takes. */
export function readOptions({ access, verify, limits }: ReadOptions): string {
  for (const [name, value] of Object.entries(limits ?? {})) {
    if (!Number.isSafeInteger(value) || (value as number) < 0) {
      throw new WeightsError("ERR_WEIGHTS_ARGUMENT", `limits.${name} is a whole number of at least 0, not ${value}`, {
        found: String(value),
      });
    }
  }
  return JSON.stringify({ access, verify, limits, windowLimit: windowLimit() });
}
