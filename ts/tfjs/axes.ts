// Layers that TensorFlow.js can compute along the last axis alone: softmax throws there, and batch normalization takes
// the values of other axes in turn, which is wrong without a word.
import { isList, type Json } from "../config/json.ts";
import type { TfLayerLike, TfModelLike } from "./structural.ts";
import { refusalError, type Refusal } from "./problems.ts";

const lastAxisOnly = new Set(["BatchNormalization", "Softmax"]);

/**
 * Why a layer cannot be computed along its axis.
 *
 * @param rank Axes of its input, where known; a negative axis needs no rank.
 */
export function axisProblem(className: string, axis: Json | undefined, rank: number | undefined): string | undefined {
  if (!lastAxisOnly.has(className)) return undefined;
  const [one] = isList(axis) ? axis : [axis];
  if (typeof one !== "number" || one === -1 || one === (rank ?? one + 1) - 1) return undefined;
  return `TensorFlow.js computes it along the last axis alone, and this is axis ${one}`;
}

interface Inner extends TfLayerLike {
  readonly layers?: readonly TfLayerLike[];
  readonly layer?: TfLayerLike;
  readonly axis?: Json;
  readonly inputSpec?: readonly { readonly ndim?: number }[];
  readonly inboundNodes?: readonly { readonly inputTensors: readonly { readonly shape: readonly unknown[] }[] }[];
}

function walk(layer: TfLayerLike, path: string, found: Refusal[]): void {
  const { layers, layer: wrapped, axis, inputSpec, inboundNodes } = layer as Inner;
  for (const inner of layers ?? []) walk(inner, path === "" ? inner.name : `${path}/${inner.name}`, found);
  if (wrapped !== undefined) walk(wrapped, path, found);
  const rank = inputSpec?.[0]?.ndim ?? inboundNodes?.[0]?.inputTensors[0]?.shape.length;
  const reason = axisProblem(layer.getClassName(), axis, rank);
  if (reason !== undefined) found.push({ layer: path, className: layer.getClassName(), reason });
}

/** The same of a model that is built: old configs do not tell the ranks. */
export function checkAxes(model: TfModelLike, target?: string): void {
  const found: Refusal[] = [];
  walk(model, "", found);
  if (found.length > 0) throw refusalError(found, target);
}
