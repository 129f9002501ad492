import { argumentError } from "./job.ts";
import type { WeightsWarning } from "./warning.ts";

/**
 * `tf.train.CheckpointOptions`, as far as it means something here: how a TensorFlow checkpoint is written or read. What only
 * says on which device or thread TensorFlow works is ignored with a warning.
 */
export interface CheckpointOptions {
  /** Loading: leave the slot variables of optimizers of before Keras 2.11 as they are. */
  readonly experimental_skip_slot_variables?: boolean | undefined;
  /** Saving: a `MaxShardSizePolicy`, whose size is in bytes. The same as `maxShardBytes`. */
  readonly experimental_sharding_callback?: { readonly max_shard_size: number } | undefined;
  readonly experimental_io_device?: string | undefined;
  readonly experimental_enable_async_checkpoint?: boolean | undefined;
  readonly enable_async?: boolean | undefined;
  readonly experimental_write_callbacks?: unknown;
}

/** What of the options reaches the addon. */
export interface MeantOptions {
  readonly skipSlotVariables: boolean;
  readonly maxShardBytes: number | undefined;
  readonly warnings: readonly WeightsWarning[];
}

const ignored = [
  "experimental_io_device",
  "experimental_enable_async_checkpoint",
  "enable_async",
  "experimental_write_callbacks",
];
const known = ["experimental_skip_slot_variables", "experimental_sharding_callback", ...ignored];

/** Reads the options. */
export function meantOptions(options: CheckpointOptions | undefined): MeantOptions {
  const given = Object.entries(options ?? {}).filter(([, value]) => value !== undefined && value !== null);
  for (const [name] of given) {
    if (!known.includes(name)) throw argumentError(`tf.train.CheckpointOptions has no field ${name}`);
  }
  const sharding = options?.experimental_sharding_callback;
  if (sharding !== undefined && !Number.isSafeInteger(sharding.max_shard_size)) {
    throw argumentError("of sharding callbacks only a policy with a max_shard_size in bytes can be followed");
  }
  const warnings = given
    .filter(([name, value]) => ignored.includes(name) && value !== false)
    .map(([name]): WeightsWarning => ({
      code: "WARN_WEIGHTS_IGNORED_OPTION",
      message: `options.${name} has no meaning here: it says where or when TensorFlow works`,
    }));
  return {
    skipSlotVariables: options?.experimental_skip_slot_variables === true,
    maxShardBytes: sharding?.max_shard_size,
    warnings,
  };
}
