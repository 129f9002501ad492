// Weights from one model into another: the first step of transfer learning.
import { WeightsError } from "../errors.ts";
import { isModel } from "../model/model.ts";
import { isLayer, type Layer } from "../model/layer.ts";
import { castInto, rawArray, type RawArray, type Tensor } from "../tensor.ts";
import { tensorOf } from "../model/weights.ts";
import { tfWeights } from "./pairs.ts";
import type { TfLayerLike, TfModelLike } from "./structural.ts";
import { assignValues, valuesSync } from "./values.ts";

/** What to copy. */
export interface CopyOptions {
  /** Match layers by name (default), or by their order among layers that have weights. */
  readonly byName?: boolean;
  /** Only these layers of the target, by name; a nested model stands for all in it. */
  readonly layers?: readonly string[];
}

/** A layer that was left as it was. */
export interface LeftLayer {
  readonly layer: string;
  readonly reason: string;
}

/** What was copied. `String(report)` is a sentence. */
export interface CopyReport {
  /** Layers of the target that have new values. */
  readonly copied: readonly string[];
  /** Layers of the target that were left as they were. */
  readonly left: readonly LeftLayer[];
  /** Layers of the source that nothing took. */
  readonly unused: readonly string[];
  toString(): string;
}

interface Weight {
  readonly shape: readonly number[];
  read(): RawArray | Tensor;
  write(value: RawArray | Tensor): void;
}

interface Holder {
  readonly name: string;
  readonly weights: readonly Weight[];
}

function ofKeras(layer: Layer, name: string): Holder {
  const weights = layer.weights.map((variable) => ({
    shape: variable.shape,
    read: () => tensorOf(variable),
    write: (value: RawArray | Tensor) => {
      variable.assign(value);
    },
  }));
  return { name, weights };
}

function ofTf(layer: TfLayerLike, name: string): Holder {
  const weights = tfWeights(layer).map((variable) => {
    const shape = variable.shape.map((dim) => dim ?? 0);
    return {
      shape,
      read: () => valuesSync(variable),
      write: (value: RawArray | Tensor) => {
        const copy = rawArray(
          "float32",
          shape.reduce((size, dim) => size * dim, 1),
        );
        castInto(copy, "float32", value);
        assignValues(variable, copy);
      },
    };
  });
  return { name, weights };
}

/** Layers that have weights of their own, with the names of nested models in front. */
function holders(model: Layer | TfLayerLike, path = ""): Holder[] {
  const inside: readonly (Layer | TfLayerLike)[] | undefined = isLayer(model)
    ? isModel(model)
      ? model.layers
      : undefined
    : (model as Partial<TfModelLike>).layers;
  if (inside !== undefined) {
    return inside.flatMap((layer) => holders(layer, path === "" ? layer.name : `${path}/${layer.name}`));
  }
  const holder = isLayer(model) ? ofKeras(model, path) : ofTf(model, path);
  return holder.weights.length > 0 ? [holder] : [];
}

/**
 * Copies weights from one model into another, each a model of TensorFlow.js or of this package. What is frozen stays
 * frozen; shapes decide, and a layer is copied as a whole or left as it was.
 *
 * ```ts
 * const report = copyWeights(base, model, { byName: true });
 * console.log(`${report}`); // 3 layers copied: conv1, conv2, dense. 1 left as it was: head (its shapes differ: …).
 * ```
 *
 * @throws ERR_WEIGHTS_NO_MATCH when nothing could be copied, ERR_WEIGHTS_ARGUMENT for a layer that is not there.
 */
export function copyWeights(from: Layer | TfModelLike, to: Layer | TfModelLike, options: CopyOptions = {}): CopyReport {
  const { byName = true, layers } = options;
  const order = holders(to);
  const targets = wanted(order, layers);
  const sources = holders(from);
  const bySourceName = new Map(sources.map((source) => [source.name, source]));
  const copied: string[] = [];
  const left: LeftLayer[] = [];
  const used = new Set<Holder>();
  for (const target of targets) {
    const source = byName ? bySourceName.get(target.name) : sources[order.indexOf(target)];
    const reason = source === undefined ? "there is none to copy from" : difference(source, target);
    if (source === undefined || reason !== undefined) {
      left.push({ layer: target.name, reason: reason ?? "" });
      continue;
    }
    // All values are read before the first is written: the two may be one model.
    const values = source.weights.map((weight) => weight.read());
    target.weights.forEach((weight, at) => {
      const value = values[at];
      if (value !== undefined) weight.write(value);
    });
    used.add(source);
    copied.push(target.name);
  }
  if (copied.length === 0) {
    throw new WeightsError("ERR_WEIGHTS_NO_MATCH", `no layer of the one model fits one of the other`, {
      expected: targets.map(({ name }) => name).join(", "),
      found: sources.map(({ name }) => name).join(", "),
    });
  }
  const unused = sources.filter((source) => !used.has(source)).map(({ name }) => name);
  return { copied, left, unused, toString: () => sentence(copied, left, unused) };
}

function wanted(all: readonly Holder[], names: readonly string[] | undefined): readonly Holder[] {
  if (names === undefined) return all;
  const fits = (holder: Holder, name: string): boolean => holder.name === name || holder.name.startsWith(`${name}/`);
  const unknown = names.filter((name) => !all.some((holder) => fits(holder, name)));
  if (unknown.length > 0) {
    throw new WeightsError("ERR_WEIGHTS_ARGUMENT", `the model has no layer ${unknown.join(", ")} with weights`, {
      expected: all.map(({ name }) => name).join(", "),
      found: unknown.join(", "),
    });
  }
  return all.filter((holder) => names.some((name) => fits(holder, name)));
}

function difference(source: Holder, target: Holder): string | undefined {
  const shapes = (holder: Holder): string => holder.weights.map(({ shape }) => `[${shape.join(", ")}]`).join(" ");
  const [one, other] = [shapes(source), shapes(target)];
  return one === other ? undefined : `its shapes differ: ${one} to copy, ${other} here`;
}

function sentence(copied: readonly string[], left: readonly LeftLayer[], unused: readonly string[]): string {
  const layers = (count: number): string => (count === 1 ? "1 layer" : `${count} layers`);
  const parts = [`${layers(copied.length)} copied: ${copied.join(", ")}.`];
  if (left.length > 0) {
    parts.push(`${left.length} left as it was: ${left.map(({ layer, reason }) => `${layer} (${reason})`).join(", ")}.`);
  }
  if (unused.length > 0) parts.push(`${layers(unused.length)} not used: ${unused.join(", ")}.`);
  return parts.join(" ");
}
