import { viewOf, type TensorDType } from "../dtype.ts";
import { WeightsError } from "../errors.ts";
import { watched } from "../mapped.ts";
import { calling, type NativeFile } from "../native.ts";
import { Tensor } from "../tensor.ts";
import { done, finished, onlyKnown, type JobOptions } from "./job.ts";
import { readOptionNames, readOptions, splitSource, type ReadOptions, type Source } from "./source.ts";

/** Options of {@link openWeights}. `verify` is `"lazy"` unless given. */
export interface OpenOptions extends ReadOptions, JobOptions {}

/** One tensor of a file. */
export interface TensorEntry {
  /** Path in the file, without a leading slash: `layers/dense/vars/0`. */
  readonly path: string;
  /** Element type; `string` and `opaque2` are of files only. */
  readonly dtype: TensorDType | "string";
  /** Elements along each axis. */
  readonly shape: readonly number[];
  /** Bytes of the elements. */
  readonly byteLength: number;
  /** CRC32C of the elements in hexadecimal, where the file has it. */
  readonly digest: string | undefined;
}

/** The value of an attribute. Integers beyond 2^53, NaN and infinities, and types we do not know come as an object. */
export type Attribute =
  | string
  | readonly string[]
  | number
  | { readonly int: string }
  | { readonly float: string }
  | { readonly other: string };

/** What {@link WeightsFile.verify} found. */
export interface VerifyReport {
  readonly format: string;
  /** Tensors whose digest fits: their own one, or the checksum of an archive's member that they are part of. */
  readonly verified: number;
  /** Bytes of all tensors that have a digest. */
  readonly bytes: number;
  /** Paths of tensors without a digest. */
  readonly withoutDigest: readonly string[];
  /**
   * Tensors whose bytes do not fit their digest. For a checksum that is not the tensor's own, and for the config of a
   * whole model (path `""`), `expected` is empty and `found` says what is wrong.
   */
  readonly failed: readonly { readonly path: string; readonly expected: string; readonly found: string }[];
  /** What nothing in the file could be compared with, in words; empty when damage to any byte that matters shows. */
  readonly unchecked: readonly string[];
}

/** Says what had nothing to be compared with. */
function withUnchecked(report: Omit<VerifyReport, "unchecked">): VerifyReport {
  const unchecked: string[] = [];
  const count = report.withoutDigest.length;
  if (count > 0) unchecked.push(`the values of ${count} tensors: the file keeps no checksum of them`);
  const structure = structureOf[report.format];
  if (structure !== undefined) unchecked.push(structure);
  return { ...report, unchecked };
}

/** What of a format's own structure has no checksum; bundles and zip archives have one of everything. */
const structureOf: Readonly<Record<string, string>> = {
  legacy_h5: "names, shapes and attributes: HDF5 as Keras writes it keeps no checksum of them",
  keras3_h5: "names, shapes and attributes: HDF5 as Keras writes it keeps no checksum of them",
  sharded: "names, shapes and attributes of the HDF5 files, and the index: they have no checksum",
  safetensors: "names, shapes and texts of the header: safetensors keeps no checksum of them",
};

type Row = [path: string, dtype: string, shape: number[], byteLength: number, digest: string | null, stored: boolean];

/** Where the addon put a tensor: in a window of the file, or in a buffer of its own. */
type Fetched =
  | { readonly window: number; readonly offset: number; readonly byteLength: number }
  | { readonly buffers: readonly ArrayBuffer[]; readonly places: readonly number[] };

/**
 * An opened file: a lazy catalogue. No tensor bytes are read before they are asked for.
 *
 * ```ts
 * await using file = await openWeights("huge.weights.h5");
 * for (const { path, dtype, shape } of file.entries()) console.log(path, dtype, shape);
 * const kernel = file.get("layers/dense/vars/0", "float32"); // a view on the file's pages
 * ```
 */
export class WeightsFile {
  /** Format, as in reports: `keras3_h5`, `legacy_h5`. */
  readonly format: string;
  /** What should be known of the file, such as a suffix that disagrees with its content. */
  readonly note: string | undefined;
  readonly #native: NativeFile;
  readonly #entries: readonly TensorEntry[];
  readonly #byPath: ReadonlyMap<string, number>;
  // One buffer a window: two over the same memory would let two parts of a program believe they own it.
  readonly #windows = new Map<number, ArrayBuffer>();

  /** @internal Use {@link openWeights}. */
  constructor(native: NativeFile) {
    this.#native = native;
    this.format = native.format();
    this.note = native.note() ?? undefined;
    const rows = JSON.parse(native.entries()) as Row[];
    this.#entries = rows.map(([path, dtype, shape, byteLength, digest]) => ({
      path,
      dtype: dtype as TensorDType,
      shape,
      byteLength,
      digest: digest ?? undefined,
    }));
    this.#byPath = new Map(rows.map(([path], index) => [path, index]));
  }

  /** All tensors, in the order of the file. */
  entries(): readonly TensorEntry[] {
    return this.#entries;
  }

  /** Whether there is a tensor at this path. */
  has(path: string): boolean {
    return this.#byPath.has(path);
  }

  /** The paths of all groups; `""` is the root. */
  groups(): readonly string[] {
    return JSON.parse(this.#call((file) => file.groups())) as string[];
  }

  /**
   * The attributes of a group or tensor.
   *
   * @throws ERR_WEIGHTS_MISSING when there is none at this path.
   */
  attributes(path = ""): Readonly<Record<string, Attribute>> {
    return JSON.parse(this.#call((file) => file.attributes(path))) as Record<string, Attribute>;
  }

  /**
   * A tensor, here and now: a view on the file's pages where it can be mapped, else a copy. Writing to a view changes
   * neither the file nor later reads by other programs, but this file's other views of the same place see it.
   *
   * @param dtype The dtype you count on, which the type then says.
   * @throws ERR_WEIGHTS_MISSING, ERR_WEIGHTS_DTYPE for another dtype, ERR_WEIGHTS_DIGEST, ERR_WEIGHTS_TRUNCATED,
   * ERR_WEIGHTS_CLOSED.
   */
  get<D extends TensorDType = TensorDType>(path: string, dtype?: D): Tensor<D> {
    const [index, entry] = this.#find(path, dtype);
    const fetched = this.#call((file) => file.get(index));
    return this.#tensor(entry, fetched) as Tensor<D>;
  }

  /**
   * The same off the event loop: the tensor is in memory, and compared with its digest, before the promise resolves.
   */
  async read<D extends TensorDType = TensorDType>(
    path: string,
    options: JobOptions & { readonly dtype?: D } = {},
  ): Promise<Tensor<D>> {
    options.signal?.throwIfAborted();
    const [index, entry] = this.#find(path, options.dtype);
    const job = this.#call((file) => file.read(index));
    const fetched = await finished(job, options, (finishedJob) => calling((addon) => addon.takeTensor(finishedJob)));
    return this.#tensor(entry, fetched) as Tensor<D>;
  }

  /** Compares every digest of the file with the bytes, off the event loop. */
  async verify(options: JobOptions = {}): Promise<VerifyReport> {
    options.signal?.throwIfAborted();
    const job = this.#call((file) => file.verify());
    const report = await finished(job, options, (finishedJob) => calling((addon) => addon.takeReport(finishedJob)));
    return withUnchecked(JSON.parse(report) as Omit<VerifyReport, "unchecked">);
  }

  /** @internal What a whole-model file says beside its weights, as JSON. */
  wholeModel(): string {
    return this.#call((file) => file.wholeModel());
  }

  /** Bytes read from the file so far. Mapped pages do not count: the operating system brings them. */
  get bytesRead(): number {
    return this.#call((file) => file.bytesRead());
  }

  /** Drops index and handle. Tensors that were handed out stay valid until they are collected. */
  close(): void {
    this.#windows.clear();
    this.#native.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.close();
  }

  #call<T>(call: (file: NativeFile) => T): T {
    return calling(() => call(this.#native));
  }

  #find(path: string, dtype: TensorDType | undefined): [number, TensorEntry] {
    const index = this.#byPath.get(path);
    const entry = index === undefined ? undefined : this.#entries[index];
    if (index === undefined || entry === undefined) {
      throw new WeightsError("ERR_WEIGHTS_MISSING", `there is no tensor ${JSON.stringify(path)} in the file`, {
        weight: path,
        format: this.format,
      });
    }
    if (dtype !== undefined && dtype !== entry.dtype) {
      throw new WeightsError("ERR_WEIGHTS_DTYPE", `${path} is ${entry.dtype}, not ${dtype}`, {
        weight: path,
        expected: dtype,
        found: entry.dtype,
      });
    }
    return [index, entry];
  }

  #window(number: number): ArrayBuffer {
    let buffer = this.#windows.get(number);
    if (buffer === undefined) {
      buffer = watched(this.#call((file) => file.window(number)));
      this.#windows.set(number, buffer);
    }
    return buffer;
  }

  #tensor({ path, dtype, shape, byteLength }: TensorEntry, fetched: Fetched): Tensor {
    const [buffer, offset] =
      "window" in fetched
        ? [this.#window(fetched.window), fetched.offset]
        : [fetched.buffers[0] ?? new ArrayBuffer(0), fetched.places[1] ?? 0];
    const data = viewOf(dtype as TensorDType, buffer, offset, byteLength);
    return new Tensor({ path, dtype: dtype as TensorDType, shape, data });
  }
}

/**
 * Opens a weights file without a model.
 *
 * @param source A path, a `file:` URL, or the bytes of a file (which are copied).
 * @throws ERR_WEIGHTS_NOT_FOUND, ERR_WEIGHTS_NOT_WEIGHTS (the message says what it looks like), ERR_WEIGHTS_TRUNCATED,
 * ERR_WEIGHTS_CORRUPT, ERR_WEIGHTS_LIMIT.
 */
export async function openWeights(source: Source, options: OpenOptions = {}): Promise<WeightsFile> {
  onlyKnown(options, [...readOptionNames, "signal", "onProgress"]);
  options.signal?.throwIfAborted();
  const [path, bytes] = splitSource(source);
  const job = calling((addon) => addon.openFile(path, bytes, readOptions(options)));
  return finished(job, options, (finishedJob) => new WeightsFile(calling((addon) => addon.takeFile(finishedJob))));
}

/**
 * Compares everything in a file that can be compared, and says what could not be.
 *
 * ```ts
 * const { failed, unchecked } = await verifyWeights("mnist.weights.h5");
 * ```
 *
 * @throws What {@link openWeights} throws: a file whose structure is damaged cannot be verified.
 */
export async function verifyWeights(source: Source, options: OpenOptions = {}): Promise<VerifyReport> {
  const file = await openWeights(source, { ...options, verify: "off" });
  try {
    return await file.verify({ signal: options.signal, onProgress: options.onProgress });
  } finally {
    file.close();
  }
}

/** {@link openWeights}, here and now. */
export function openWeightsSync(source: Source, options: ReadOptions = {}): WeightsFile {
  onlyKnown(options, readOptionNames);
  const [path, bytes] = splitSource(source);
  const job = calling((addon) => addon.openFile(path, bytes, readOptions(options)));
  return done(job, (finishedJob) => new WeightsFile(calling((addon) => addon.takeFile(finishedJob))));
}
