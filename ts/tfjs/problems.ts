// What stands in the way of a model becoming one of TensorFlow.js.
import { WeightsError } from "../errors.ts";

/** Something that TensorFlow.js cannot do, or would do otherwise than Keras without saying so. */
export interface Refusal {
  /** Name of the layer, under the names of the models it is in: `encoder/dense`. */
  readonly layer: string;
  /** Its class in Keras. */
  readonly className: string;
  /** Why. */
  readonly reason: string;
}

/** Something that changes training but no prediction. */
export interface TranslationNote {
  readonly layer: string;
  readonly message: string;
}

/** Collects problems while a config is being translated. */
export class Problems {
  readonly refusals: Refusal[] = [];
  readonly notes: TranslationNote[] = [];

  /** Takes over what was refused elsewhere of layers that nothing was said of yet. */
  add(refusals: readonly Refusal[]): void {
    const known = new Set(this.refusals.map(({ layer }) => layer));
    this.refusals.push(...refusals.filter(({ layer }) => !known.has(layer)));
  }

  refuse(layer: string, className: string, reason: string): void {
    const known = this.refusals.some((one) => one.layer === layer && one.reason === reason);
    if (!known) this.refusals.push({ layer, className, reason });
  }

  note(layer: string, message: string): void {
    this.notes.push({ layer, message });
  }
}

/** One error for all refusals, of a model that is to be one of `target`. */
export function refusalError(refusals: readonly Refusal[], target = "TensorFlow.js"): WeightsError {
  const lines = refusals.map(({ layer, className, reason }) => `  ${layer} (${className}): ${reason}`);
  const count = refusals.length === 1 ? "one thing" : `${refusals.length} things`;
  return new WeightsError(
    "ERR_WEIGHTS_UNSUPPORTED",
    `${target} cannot do ${count} in this model:\n${lines.join("\n")}`,
    { layer: refusals[0]?.layer, found: refusals.map(({ className }) => className).join(", ") },
  );
}

/** Says a note to whoever wants to know, else as a warning of the process. */
export function tell(note: TranslationNote, onNote: ((note: TranslationNote) => void) | undefined): void {
  if (onNote !== undefined) onNote(note);
  else process.emitWarning(`${note.layer}: ${note.message}`, { type: "WeightsWarning", code: "KERAS_WEIGHTS_TFJS" });
}
