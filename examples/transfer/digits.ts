// Pictures of handwritten digits, and what Keras measured on them. `generate.py` wrote both.
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** The path of a file of `data/`. */
export const dataFile = (name: string): string => fileURLToPath(new URL(`data/${name}`, import.meta.url));

export interface Digits {
  /** 8 × 8 values from 0 to 1 for each picture. */
  readonly images: Float32Array;
  /** 0 to 4: which of five digits each picture shows. */
  readonly labels: Uint8Array;
}

interface Packed {
  readonly pixels: string;
  readonly labels: string;
}

interface File {
  readonly recorded: { readonly framework: string; readonly correct: number; readonly total: number };
  readonly scale: number;
  readonly low: Packed;
  readonly high: { readonly train: Packed; readonly held: Packed };
}

const file = JSON.parse(readFileSync(dataFile("digits.json"), "utf8")) as File;
const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, "base64"));

function unpack({ pixels, labels }: Packed): Digits {
  return { images: Float32Array.from(bytes(pixels), (pixel) => pixel / file.scale), labels: bytes(labels) };
}

/** Digits 0 to 4 that Keras did not train with. */
export const lowHeldOut = unpack(file.low);
/** Digits 5 to 9 to train with. */
export const highTraining = unpack(file.high.train);
/** Digits 5 to 9 to measure with. */
export const highHeldOut = unpack(file.high.held);
/** How many of {@link lowHeldOut} Keras got right. */
export const recordedByKeras = file.recorded;
