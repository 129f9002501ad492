// The only importer of the addon. It is loaded when first needed, so that importing the package costs nothing and a
// missing binary is an error of the call that needs it.
import { createRequire } from "node:module";
import { isMainThread } from "node:worker_threads";

import type * as binding from "../native/binding.cjs";
import { leaseEvent } from "./mapped.ts";
import { errorCodes, WeightsError, type WeightsErrorCode, type WeightsErrorFields } from "./errors.ts";

/** What the addon exports. */
export type Native = typeof binding;
/** Long work. */
export type NativeJob = binding.NativeJob;
/** An opened file. */
export type NativeFile = binding.NativeFile;
/** A save. */
export type NativeSave = binding.NativeSave;

let loaded: Native | undefined;

/**
 * The addon.
 *
 * @throws ERR_WEIGHTS_NATIVE_MISSING with what to install.
 */
export function native(): Native {
  return (loaded ??= load());
}

function load(): Native {
  // Not called `require`: in the CommonJS build that name is needed to know `import.meta.url`.
  const requireFromHere = createRequire(import.meta.url);
  try {
    const addon = requireFromHere("../native/binding.cjs") as Native;
    addon.onLeaseEvent((event) => {
      leaseEvent(addon, event);
    }, isMainThread);
    return addon;
  } catch (cause) {
    const platform = `${process.platform}-${process.arch}`;
    throw new WeightsError(
      "ERR_WEIGHTS_NATIVE_MISSING",
      `the native binary of keras-weights for ${platform} could not be loaded. Install again without --omit=optional ` +
        `(and without a lock file made on another platform), or set NAPI_RS_NATIVE_LIBRARY_PATH to a binary you built`,
      { expected: platform, cause },
    );
  }
}

/** Errors of the addon's own argument checks; nothing of ours throws them. */
const argumentCodes = /Expected$|^InvalidArg$/;

/** An error of the addon as a {@link WeightsError}; every other value as it is. */
export function fromNative(error: unknown): unknown {
  if (!(error instanceof Error) || !("code" in error)) return error;
  const { code, message } = error as Error & { code: unknown } & WeightsErrorFields;
  if (typeof code !== "string") return error;
  if ((errorCodes as readonly string[]).includes(code)) {
    return new WeightsError(code as WeightsErrorCode, message, error);
  }
  if (argumentCodes.test(code)) return new WeightsError("ERR_WEIGHTS_ARGUMENT", message, { cause: error });
  if (code === "GenericFailure") return new WeightsError("ERR_WEIGHTS_INTERNAL", message, { cause: error });
  return error;
}

/** Calls the addon and throws its errors as ours. */
export function calling<T>(call: (addon: Native) => T): T {
  const addon = native();
  try {
    return call(addon);
  } catch (error) {
    throw fromNative(error);
  }
}
