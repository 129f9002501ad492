/** Something to know although the work went on. */
export interface WeightsWarning {
  /** What it is about, for programs: `WARN_WEIGHTS_SKIPPED_LAYER`. */
  readonly code: string;
  /** Name of the layer, if it is about one. */
  readonly layer?: string;
  readonly message: string;
}

/** Gives warnings to the caller, or to the process where the caller does not want them. */
export function warn(
  warnings: readonly WeightsWarning[],
  onWarning: ((warning: WeightsWarning) => void) | undefined,
): void {
  for (const warning of warnings) {
    if (onWarning !== undefined) onWarning(warning);
    else process.emitWarning(warning.message, { type: "WeightsWarning", code: warning.code });
  }
}
