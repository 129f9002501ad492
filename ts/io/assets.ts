import { calling, type NativeFile, type NativeJob } from "../native.ts";

/** A file that an archive holds for a layer, such as the vocabulary of a `StringLookup`. */
export interface Asset {
  /** Path in the archive: `assets/layers/string_lookup/vocabulary.txt`. */
  readonly path: string;
  readonly bytes: Uint8Array;
}

/** Begins to read the files beside the weights. */
export function beginAssets(file: NativeFile): NativeJob {
  return calling(() => file.assets());
}

/** Takes what {@link beginAssets} read. */
export function takeAssets(job: NativeJob): Asset[] {
  const { paths, buffers } = calling((addon) => addon.takeAssets(job));
  return paths.map((path, k) => ({ path, bytes: new Uint8Array(buffers[k] ?? new ArrayBuffer(0)) }));
}
