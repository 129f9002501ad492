import { calling } from "../native.ts";
import { finished } from "./job.ts";

/**
 * The prefix of the latest TensorFlow checkpoint of a folder, as `tf.train.latest_checkpoint`: what the folder's file
 * `checkpoint` names. Undefined without that file, and when the checkpoint it names is gone.
 *
 * @throws ERR_WEIGHTS_CORRUPT for a `checkpoint` file that cannot be understood, ERR_WEIGHTS_IO.
 */
export async function latestPrefix(folder: string): Promise<string | undefined> {
  const job = calling((addon) => addon.latestCheckpoint(folder));
  const report = await finished(job, {}, (ended) => calling((addon) => addon.takeReport(ended)));
  return (JSON.parse(report) as string | null) ?? undefined;
}
