/** Every code of a {@link WeightsError}; `docs/errors.md` says what each means and what to do. */
export const errorCodes = [
  "ERR_WEIGHTS_IO",
  "ERR_WEIGHTS_NOT_FOUND",
  "ERR_WEIGHTS_EXISTS",
  "ERR_WEIGHTS_NOT_WEIGHTS",
  "ERR_WEIGHTS_TRUNCATED",
  "ERR_WEIGHTS_CORRUPT",
  "ERR_WEIGHTS_UNSUPPORTED",
  "ERR_WEIGHTS_LIMIT",
  "ERR_WEIGHTS_DIGEST",
  "ERR_WEIGHTS_MISSING",
  "ERR_WEIGHTS_LAYER_COUNT",
  "ERR_WEIGHTS_WEIGHT_COUNT",
  "ERR_WEIGHTS_SHAPE",
  "ERR_WEIGHTS_DTYPE",
  "ERR_WEIGHTS_UNBUILT",
  "ERR_WEIGHTS_NO_MATCH",
  "ERR_WEIGHTS_NAME",
  "ERR_WEIGHTS_FORMAT",
  "ERR_WEIGHTS_CONFIG",
  "ERR_WEIGHTS_UNKNOWN_LAYER",
  "ERR_WEIGHTS_ARGUMENT",
  "ERR_WEIGHTS_CHANGED",
  "ERR_WEIGHTS_CLOSED",
  "ERR_WEIGHTS_ABORTED",
  "ERR_WEIGHTS_MEMORY",
  "ERR_WEIGHTS_NATIVE_MISSING",
  "ERR_WEIGHTS_INTERNAL",
] as const;

/** A stable code: `ERR_WEIGHTS_SHAPE`. */
export type WeightsErrorCode = (typeof errorCodes)[number];

/** What was expected or found: a shape, a count (the message says of what), or a word such as a dtype. */
export type WeightsErrorDetail = number | readonly number[] | string;

/** Where an error happened, as far as it is known. */
export interface WeightsErrorFields {
  /** Path of the file as it was given. */
  readonly file?: string | undefined;
  /** Format of the file, `legacy_h5`. */
  readonly format?: string | undefined;
  /** Name of the layer in the model. */
  readonly layer?: string | undefined;
  /** Name or path of the weight. */
  readonly weight?: string | undefined;
  /** What was wanted. */
  readonly expected?: WeightsErrorDetail | undefined;
  /** What was there. */
  readonly found?: WeightsErrorDetail | undefined;
  /** Bytes from the start of the file. */
  readonly offset?: number | undefined;
  /** The error behind this one. */
  readonly cause?: unknown;
}

// By a registered symbol and not by instanceof, so that two copies of this package recognize each other's errors.
const mark = Symbol.for("keras-weights.WeightsError");

const fieldNames = ["file", "format", "layer", "weight", "expected", "found", "offset"] as const;

/**
 * Every error of this package. Look at {@link code}; messages may change.
 *
 * ```ts
 * try {
 *   await model.loadWeights("other.weights.h5");
 * } catch (error) {
 *   if (isWeightsError(error, "ERR_WEIGHTS_SHAPE")) console.log(error.layer, error.expected, error.found);
 *   else throw error;
 * }
 * ```
 */
export class WeightsError extends Error {
  override readonly name = "WeightsError";
  /** What is wrong, for programs. */
  readonly code: WeightsErrorCode;
  /** Path of the file as it was given. */
  declare readonly file?: string;
  /** Format of the file, `legacy_h5`. */
  declare readonly format?: string;
  /** Name of the layer in the model. */
  declare readonly layer?: string;
  /** Name or path of the weight. */
  declare readonly weight?: string;
  /** What was wanted. */
  declare readonly expected?: WeightsErrorDetail;
  /** What was there. */
  declare readonly found?: WeightsErrorDetail;
  /** Bytes from the start of the file. */
  declare readonly offset?: number;

  constructor(code: WeightsErrorCode, message: string, fields: WeightsErrorFields = {}) {
    super(message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.code = code;
    for (const name of fieldNames) {
      const value = fields[name];
      if (value !== undefined) Object.defineProperty(this, name, { value, enumerable: true });
    }
    Object.defineProperty(this, mark, { value: true });
  }
}

/**
 * Whether a caught value is a {@link WeightsError}, and of one of these codes if any are given.
 */
export function isWeightsError<C extends WeightsErrorCode = WeightsErrorCode>(
  error: unknown,
  ...codes: C[]
): error is WeightsError & { readonly code: C } {
  if (typeof error !== "object" || error === null || !(mark in error)) return false;
  return codes.length === 0 || (codes as string[]).includes((error as unknown as WeightsError).code);
}
