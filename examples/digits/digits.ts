// The held-out handwritten digits, and what Keras said about them. `generate.py` wrote both.
import { readFileSync } from "node:fs";

/** A file of `data/`. */
export const dataFile = (name: string): URL => new URL(`data/${name}`, import.meta.url);

const readJson = (name: string): unknown => JSON.parse(readFileSync(dataFile(name), "utf8"));
const bytes = (base64: string): Uint8Array => new Uint8Array(Buffer.from(base64, "base64"));

export interface Digits {
  /** One row of 64 values from 0 to 1 for each picture of 8 × 8 pixels. */
  readonly images: Float32Array;
  /** Which digit each picture shows. */
  readonly labels: Uint8Array;
}

/** The 360 pictures that the training never saw. */
export function heldOutDigits(): Digits {
  const { pixels, labels, scale } = readJson("heldout.json") as { pixels: string; labels: string; scale: number };
  return { images: Float32Array.from(bytes(pixels), (pixel) => pixel / scale), labels: bytes(labels) };
}

export interface Recorded {
  readonly framework: string;
  /** What `model.evaluate` of this Keras returned: a float32. */
  readonly accuracy: number;
  readonly correct: number;
  readonly total: number;
  /** The digit that this Keras saw in each picture. */
  readonly predicted: Uint8Array;
}

/** What Keras 3 (`k3`) or tf_keras (`k2`) measured after training. */
export function recordedByKeras(keras: "k3" | "k2"): Recorded {
  const all = readJson("expected.json") as Record<"k3" | "k2", Omit<Recorded, "predicted"> & { predicted: string }>;
  return { ...all[keras], predicted: bytes(all[keras].predicted) };
}
