// What became of files that are mapped: the addon's guard thread tells, see docs/reliability.md.
import type { Native } from "./native.ts";

/** What the addon tells. */
interface LeaseEvent {
  readonly file: string;
  /** Bytes that were mapped. */
  readonly bytes: number;
  /** Whether the values could not be kept. */
  readonly lost: boolean;
  /** Whether it is for this thread to tell the user. */
  readonly first: boolean;
}

/** Buffers that may lie over pages of a file. */
const buffers = new Set<WeakRef<ArrayBuffer>>();
const collected = new FinalizationRegistry<WeakRef<ArrayBuffer>>((buffer) => {
  buffers.delete(buffer);
});

/** A buffer of the addon, which is detached should its values be lost. */
export function watched(buffer: ArrayBuffer): ArrayBuffer {
  const weak = new WeakRef(buffer);
  buffers.add(weak);
  collected.register(buffer, weak);
  return buffer;
}

/** A writer came to a mapped file: says so, and takes from the program what is no longer the file's values. */
export function leaseEvent(addon: Native, text: string): void {
  const { file, bytes, lost, first } = JSON.parse(text) as LeaseEvent;
  if (lost) {
    for (const weak of buffers) {
      const buffer = weak.deref();
      if (buffer !== undefined && addon.detachLost(buffer)) buffers.delete(weak);
    }
  }
  if (!first) return;
  const [code, message] = lost
    ? ["WARN_WEIGHTS_FILE_LOST", `and its values could not be kept: what was loaded from it must be loaded again`]
    : ["WARN_WEIGHTS_FILE_CHANGED", `so its ${bytes} bytes were copied: what was loaded from it stays as it was`];
  process.emitWarning(`${file} is being written to by another program while it is mapped, ${message}`, {
    type: "WeightsWarning",
    code,
  });
}
