import { WeightsError, type WeightsErrorCode, type WeightsErrorFields } from "../errors.ts";

/** Throws a {@link WeightsError}: what is wrong in one sentence and, where there is something, what to do. */
export function fail(code: WeightsErrorCode, message: string, fields: WeightsErrorFields = {}): never {
  throw new WeightsError(code, message, fields);
}
