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
}

/** Layers that compute otherwise with a mask. */
const readers = new Set(["SimpleRNN", "LSTM", "GRU", "RNN", "Bidirectional", "ConvLSTM2D", "GlobalAveragePooling1D"]);

/** Layers that TensorFlow.js hands a mask to although Keras may not. */
const takers = new Set([...readers, "Softmax", "TimeDistributed"]);
takers.delete("GlobalAveragePooling1D");

/** Layers that Keras lets a mask through. */
const passing = new Set([
  ...["Activation", "Dense", "Dropout", "AlphaDropout", "GaussianDropout", "GaussianNoise", "SpatialDropout1D"],
  ...["BatchNormalization", "LayerNormalization", "ReLU", "LeakyReLU", "PReLU", "ELU", "ThresholdedReLU", "Softmax"],
  ...["TimeDistributed", "Rescaling", "ActivityRegularization"],
]);
const merging = new Set(["Add", "Multiply", "Average", "Maximum", "Minimum", "Concatenate", "Dot"]);
const recurrent = new Set(["SimpleRNN", "LSTM", "GRU", "RNN", "ConvLSTM2D"]);
const models = new Set(["Sequential", "Functional", "Model"]);

function makesMask({ className, config }: MaskStep): boolean {
  return className === "Masking" || (className === "Embedding" && config["mask_zero"] === true);
}

function returnsSequences(step: MaskStep): boolean {
  if (step.className !== "Bidirectional") return step.config["return_sequences"] === true;
  const inner = step.config["layer"] as { config?: Record<string, unknown> } | undefined;
  return inner?.config?.["return_sequences"] === true;
}

/** Refuses what would be masked otherwise. `steps` are in an order in which inputs come first. */
export function checkMasks(steps: readonly MaskStep[], problems: Problems): void {
  const makers = steps.filter((step) => makesMask(step));
  if (makers.length === 0) return;
  // Numbers of the makers whose mask an output carries in Keras.
  const carried: ReadonlySet<number>[] = [];
  steps.forEach((step, index) => {
    const { path, className } = step;
    const incoming = new Set(step.inputs.flatMap((input) => [...(carried[input] ?? [])]));
    const refuse = (reason: string): void => {
      problems.refuse(path, className, reason);
    };
    if (incoming.size > 0) {
      if (className === "GlobalAveragePooling1D")
        refuse("Keras leaves masked steps out of the average, TensorFlow.js does not");
      if (merging.has(className)) refuse("a mask reaches it, and TensorFlow.js loses masks in merging layers");
      if (models.has(className)) refuse("a mask reaches a model inside the model");
    }
    if (readers.has(className) && incoming.size > 1) refuse("masks of several layers reach it");
    if (takers.has(className) && incoming.size === 0 && carriesBefore(carried)) {
      refuse("TensorFlow.js would hand it a mask that Keras does not");
    }
    if (readers.has(className) && incoming.size === 1 && makers.length > 1 && !newest(incoming, carried)) {
      refuse("TensorFlow.js would hand it the mask of another layer");
    }
    carried.push(outgoing(step, index, incoming));
  });
}

function outgoing(step: MaskStep, index: number, incoming: ReadonlySet<number>): ReadonlySet<number> {
  if (makesMask(step)) return new Set([index]);
  if (passing.has(step.className) || merging.has(step.className)) return incoming;
  const passes = (recurrent.has(step.className) || step.className === "Bidirectional") && returnsSequences(step);
  return passes ? incoming : new Set();
}

/** Whether any mask was made before this step. */
function carriesBefore(carried: readonly ReadonlySet<number>[]): boolean {
  return carried.some((masks) => masks.size > 0);
}

/** Whether no other mask was met later than this one's last. */
function newest(incoming: ReadonlySet<number>, carried: readonly ReadonlySet<number>[]): boolean {
  const last = carried.findLast((masks) => masks.size > 0);
  return last !== undefined && [...last].every((mask) => incoming.has(mask));
}
