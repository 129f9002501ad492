// Reads the .npz files of the fixtures, which numpy wrote with or without compression.
import { readFileSync } from "node:fs";
import { inflateRawSync } from "node:zlib";

/** One array of an .npz file. */
export interface NpyArray {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

function members(file: Buffer): Map<string, Buffer> {
  const result = new Map<string, Buffer>();
  let end = file.length - 22;
  while (file.readUInt32LE(end) !== 0x06054b50) end -= 1;
  let at = file.readUInt32LE(end + 16);
  for (let left = file.readUInt16LE(end + 10); left > 0; left -= 1) {
    const method = file.readUInt16LE(at + 10);
    const size = file.readUInt32LE(at + 20);
    const nameLength = file.readUInt16LE(at + 28);
    const name = file.toString("utf8", at + 46, at + 46 + nameLength);
    const local = file.readUInt32LE(at + 42);
    const start = local + 30 + file.readUInt16LE(local + 26) + file.readUInt16LE(local + 28);
    const packed = file.subarray(start, start + size);
    result.set(name, method === 0 ? packed : inflateRawSync(packed));
    at += 46 + nameLength + file.readUInt16LE(at + 30) + file.readUInt16LE(at + 32);
  }
  return result;
}

function parseNpy(bytes: Buffer): NpyArray {
  const long = bytes[6] !== 1;
  const length = long ? bytes.readUInt32LE(8) : bytes.readUInt16LE(8);
  const start = long ? 12 : 10;
  const header = bytes.toString("latin1", start, start + length);
  const dtype = /'descr': '([^']+)'/u.exec(header)?.[1] ?? "";
  if (header.includes("'fortran_order': True")) throw new Error("fortran order");
  const shape = (/'shape': \(([^)]*)\)/u.exec(header)?.[1] ?? "")
    .split(",")
    .map((dim) => dim.trim())
    .filter((dim) => dim !== "")
    .map(Number);
  // In an array of its own, so that views of any element size are aligned.
  return { dtype, shape, data: Uint8Array.from(bytes.subarray(start + length)) };
}

/** All arrays of an .npz file by name. */
export function readNpz(path: string | URL): Map<string, NpyArray> {
  const arrays = [...members(readFileSync(path))].map(
    ([name, bytes]) => [name.replace(/\.npy$/u, ""), parseNpy(bytes)] as const,
  );
  return new Map(arrays);
}

/** The elements of an array as numbers. */
export function numbersOf({ dtype, data }: NpyArray): number[] {
  const { buffer } = data;
  switch (dtype.replace(/^[<|=]/u, "")) {
    case "f4":
      return Array.from(new Float32Array(buffer));
    case "f8":
      return Array.from(new Float64Array(buffer));
    case "i4":
      return Array.from(new Int32Array(buffer));
    case "i8":
      return Array.from(new BigInt64Array(buffer), Number);
    case "u1":
    case "b1":
      return Array.from(data);
    default:
      throw new Error(`no numbers of ${dtype}`);
  }
}
