// Masks. TensorFlow.js hands the last mask it met to every layer that runs later, whether it belongs to it or not, loses
// masks in merging layers, and ignores them in pooling. So a model with masks is taken only where that makes no difference.
import type { Problems } from "./problems.ts";

/** A layer call in the order of the graph, as far as masks matter. */
export interface MaskStep {
  /** Name with the models it is in. */
  readonly path: string;
  readonly className: string;
  /** Options as Keras wrote them. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Numbers of the steps whose outputs it takes. */
  readonly inputs: readonly number[];
  /** What its first input is called; equal for calls on the same tensor. */
  readonly source: string;
  /** The mask it is called with (Keras 3 writes it down), as {@link maskName} calls it. */
  readonly given?: string | undefined;
}

/** Layers that compute otherwise with a mask. */
const readers = new Set(["SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM2D", "GlobalAveragePooling1D"]);

/** Layers that TensorFlow.js hands a mask to although Keras may not. */
const takers = new Set([
  "SimpleRNN",
  "LSTM",
  "GRU",
  "RNN",
  "Bidirectional",
  "ConvLSTM2D",
  "Softmax",
  "TimeDistributed",
]);

/** Layers that both let a mask through. */
const passing = new Set([
  ...["Activation", "Dense", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D"],
  ...["BatchNormalization", "LayerNormalization", "ReLU", "PReLU", "TimeDistributed"],
]);
/** Layers that only Keras lets a mask through. */
const passingInKeras = new Set(["LeakyReLU", "ELU", "ThresholdedReLU", "Softmax", "Rescaling"]);
const merging = new Set(["Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"]);
const recurrent = new Set(["SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM2D"]);
const models = new Set(["Sequential", "Functional", "Model"]);

type Names = ReadonlySet<string>;
const none: Names = new Set();

/** Name of the mask "where `source` differs from `value`". */
export function maskName(source: string, value: unknown): string {
  return `${source} ≠ ${String(value)}`;
}

/** The mask that a layer makes, if it makes one. */
function made({ className, config, source }: MaskStep): string | undefined {
  if (className === "Masking") return maskName(source, config["mask_value"] ?? 0);
  return className === "Embedding" && config["mask_zero"] === true ? maskName(source, 0) : undefined;
}

function returnsSequences(step: MaskStep): boolean {
  if (step.className !== "Bidirectional") return step.config["return_sequences"] === true;
  const inner = step.config["layer"] as { config?: Record<string, unknown> } | undefined;
  return inner?.config?.["return_sequences"] === true;
}

function outgoing(step: MaskStep, incoming: Names, inKeras: boolean): Names {
  const own = made(step);
  if (own !== undefined) return new Set([own]);
  const { className } = step;
  if (passing.has(className) || (inKeras && (passingInKeras.has(className) || merging.has(className)))) return incoming;
  const passes = (recurrent.has(className) || className === "Bidirectional") && returnsSequences(step);
  return passes ? incoming : none;
}

/** Whether Keras gives zeros at masked steps, where TensorFlow.js gives the last output again. */
function givesZeros(step: MaskStep, incoming: Names): boolean {
  if (incoming.size === 0 || !returnsSequences(step)) return false;
  return step.className === "Bidirectional" || step.config["zero_output_for_mask"] === true;
}

/** Refuses what would be masked otherwise. `steps` are in an order in which inputs come first. */
export function checkMasks(steps: readonly MaskStep[], problems: Problems): void {
  const all = new Set(steps.map((step) => made(step)).filter((name) => name !== undefined));
  if (all.size === 0) return;
  const inKeras: Names[] = [];
  const inTensorFlow: Names[] = [];
  // Whether an output differs at masked steps.
  const differs: boolean[] = [];
  const used = new Set(steps.flatMap(({ inputs }) => inputs));
  steps.forEach((step, index) => {
    const gather = (carried: readonly Names[]): Names =>
      new Set(step.inputs.flatMap((input) => [...(carried[input] ?? [])]));
    const [incoming, arriving] = [gather(inKeras), gather(inTensorFlow)];
    const differing = step.inputs.some((input) => differs[input] === true);
    const between = passing.has(step.className) || passingInKeras.has(step.className);
    const ignored = readers.has(step.className) && incoming.size > 0;
    const own = givesZeros(step, incoming) || (differing && between);
    const wrong = (differing && !between && !ignored) || (own && !used.has(index));
    const reason =
      problemOf(step, incoming, arriving, all.size) ??
      (wrong ? "at masked steps Keras gives zeros, TensorFlow.js the last output again" : undefined);
    if (reason !== undefined) problems.refuse(step.path, step.className, reason);
    inKeras.push(outgoing(step, incoming, true));
    inTensorFlow.push(outgoing(step, arriving, false));
    differs.push(own);
  });
}

function problemOf(
  { className, given }: MaskStep,
  incoming: Names,
  arriving: Names,
  count: number,
): string | undefined {
  if (given !== undefined && !(incoming.size === 1 && incoming.has(given)))
    return "it is called with a mask of its own";
  if (incoming.size === 0) {
    return takers.has(className) ? "TensorFlow.js would hand it a mask that Keras does not" : undefined;
  }
  if (className === "GlobalAveragePooling1D") {
    return "Keras leaves masked steps out of the average, TensorFlow.js does not";
  }
  if (merging.has(className)) return "a mask reaches it, and TensorFlow.js loses masks in merging layers";
  if (models.has(className)) return "a mask reaches a model inside the model";
  if (!readers.has(className)) return undefined;
  if (incoming.size > 1) return "masks of several layers reach it";
  // A lost mask still comes, as the last one that was met, when there is no other.
  return arriving.size === 1 || count === 1 ? undefined : "TensorFlow.js would hand it the mask of another layer";
}
