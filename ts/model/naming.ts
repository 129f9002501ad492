import { defaultFlavor, type Flavor, type PerFlavor } from "./flavor.ts";

/**
 * Keras' snake case of a class name, the same rule in Keras 2 and 3: `Conv2DTranspose` is `conv2d_transpose`,
 * `PReLU` is `p_re_lu`, `ConvLSTM2D` is `conv_lstm2d`.
 */
export function snakeCase(className: string): string {
  return className
    .replace(/[^\p{L}\p{N}_]+/gu, "")
    .replace(/(.)([A-Z][a-z]+)/g, "$1_$2")
    .replace(/([a-z])([A-Z])/g, "$1_$2")
    .toLowerCase();
}

/** What an automatic name begins with, and whether the first of its kind has no number (`dense`) or is `input_1`. */
export interface NamePrefix {
  readonly prefix: string;
  readonly fromOne?: boolean;
}

const flavors: readonly Flavor[] = ["keras2", "keras3"];
const counters: PerFlavor<Map<string, number>> = { keras2: new Map(), keras3: new Map() };
const waiting: PerFlavor<Map<string, ObjectName[]>> = { keras2: new Map(), keras3: new Map() };
const compactAt = 256;

/**
 * The name of a layer or model. Keras counts automatic names when an object is made, and differently in its two
 * versions. Here the flavour is known only when a model takes the layer in, so the place in the order of creation is
 * kept and the number is given when somebody asks: an object of the other flavour then does not count.
 */
export class ObjectName {
  readonly #explicit: string | undefined;
  readonly #prefixes: PerFlavor<NamePrefix>;
  readonly #given: { keras2?: string; keras3?: string } = {};
  #flavor: Flavor | undefined;

  constructor(explicit: string | undefined, prefixes: PerFlavor<NamePrefix>) {
    this.#explicit = explicit;
    this.#prefixes = prefixes;
    if (explicit !== undefined) return;
    for (const flavor of flavors) {
      const { prefix } = prefixes[flavor];
      const queue = waiting[flavor].get(prefix) ?? [];
      if (queue.length >= compactAt && queue.length % compactAt === 0) {
        const kept = queue.filter((name) => name.#countsIn(flavor));
        queue.splice(0, queue.length, ...kept);
      }
      queue.push(this);
      waiting[flavor].set(prefix, queue);
    }
  }

  /** Whether Keras made this name up. */
  get isAutomatic(): boolean {
    return this.#explicit === undefined;
  }

  /** Says which flavour the object is of; from now on it does not count in the other. */
  bind(flavor: Flavor): void {
    this.#flavor = flavor;
  }

  /** The name in a flavour. Earlier objects of the same kind that still wait for a number get theirs first. */
  in(flavor: Flavor = this.#flavor ?? defaultFlavor): string {
    if (this.#explicit !== undefined) return this.#explicit;
    const known = this.#given[flavor];
    if (known !== undefined) return known;
    const { prefix } = this.#prefixes[flavor];
    const queue = waiting[flavor].get(prefix) ?? [];
    const end = queue.indexOf(this) + 1;
    for (const name of queue.splice(0, end)) {
      if (name.#countsIn(flavor)) name.#given[flavor] = takeName(flavor, name.#prefixes[flavor]);
    }
    return (this.#given[flavor] ??= takeName(flavor, this.#prefixes[flavor]));
  }

  #countsIn(flavor: Flavor): boolean {
    return this.#flavor === undefined || this.#flavor === flavor;
  }
}

/** Uses up one automatic name, as Keras 3 does for the graph inside a Sequential model. */
export function takeName(flavor: Flavor, { prefix, fromOne = false }: NamePrefix): string {
  const used = counters[flavor].get(prefix) ?? 0;
  counters[flavor].set(prefix, used + 1);
  if (fromOne) return `${prefix}_${used + 1}`;
  return used === 0 ? prefix : `${prefix}_${used}`;
}

/**
 * Forgets all automatic names, as `keras.backend.clear_session()`: the next `Dense` is `dense` again.
 *
 * ```ts
 * clearSession();
 * layers.dense(1).name; // "dense"
 * ```
 */
export function clearSession(): void {
  for (const flavor of flavors) {
    counters[flavor].clear();
    waiting[flavor].clear();
  }
}
