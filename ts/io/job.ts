import { WeightsError } from "../errors.ts";
import { calling, type NativeJob } from "../native.ts";

/** How far long work is. */
export interface Progress {
  /** Bytes done. */
  readonly done: number;
  /** Bytes there are. */
  readonly total: number;
}

/** What every asynchronous verb understands. */
export interface JobOptions {
  /** Aborts the work; the promise then rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
  /** Is told now and then, and once at the end, how far the work is. */
  readonly onProgress?: ((progress: Progress) => void) | undefined;
}

/** Milliseconds between two looks at the progress. */
const progressInterval = 50;

/** Calls `onProgress` while work goes on; the returned function ends it with a last call. */
export function watch(job: NativeJob, { onProgress }: JobOptions): () => void {
  if (onProgress === undefined) return () => undefined;
  let last = -1;
  const report = (): void => {
    const { done, total } = job;
    if (done === last || total === 0) return;
    last = done;
    onProgress({ done, total });
  };
  const timer = setInterval(report, progressInterval);
  return () => {
    clearInterval(timer);
    report();
  };
}

/**
 * Does long work on the addon's threads.
 *
 * An abort rejects at once with the signal's reason; the work stops at its next look (8 MiB at most) and its
 * result is dropped.
 */
export async function finished<T>(job: NativeJob, options: JobOptions, take: (job: NativeJob) => T): Promise<T> {
  const { signal } = options;
  signal?.throwIfAborted();
  const running = calling(() => job.start());
  const stop = watch(job, options);
  try {
    await (signal === undefined ? running : Promise.race([running, abortion(job, signal, running)]));
    // The signal may have come between the end of the work and this turn.
    signal?.throwIfAborted();
    return calling(() => take(job));
  } finally {
    stop();
  }
}

/** Rejects when the signal aborts, and lets go of the signal when the work ends first. */
async function abortion(job: NativeJob, signal: AbortSignal, running: Promise<void>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const abort = (): void => {
      job.cancel();
      // The reason is the caller's, whatever it is.
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors
      reject(signal.reason);
    };
    signal.addEventListener("abort", abort, { once: true });
    void running.then(() => {
      signal.removeEventListener("abort", abort);
      resolve();
    });
  });
}

/** Does long work here and now. */
export function done<T>(job: NativeJob, take: (job: NativeJob) => T): T {
  return calling(() => {
    job.run();
    return take(job);
  });
}

/** A problem with an argument. */
export function argumentError(message: string): WeightsError {
  return new WeightsError("ERR_WEIGHTS_ARGUMENT", message);
}

/** Refuses options that nobody reads: a misspelt one would be ignored in silence. */
export function onlyKnown(options: object, names: readonly string[]): void {
  for (const name of Object.keys(options)) {
    if (!names.includes(name)) throw argumentError(`there is no option ${name} here; there are ${names.join(", ")}`);
  }
}
