// Keras 3 writes the making of masks into its graphs, as operations: `not_equal(x, 0)` beside an Embedding, and
// `any(not_equal(x, value), -1)` beside a Masking layer. TensorFlow.js makes the same masks by itself.
import { isList, isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import { referencesOfCall, type TensorReference } from "./calls.ts";
import { maskName } from "./masks.ts";

/** Name of a tensor as the source of a mask. */
export function sourceName([layer, call, tensor]: TensorReference): string {
  return `${layer}:${call}:${tensor}`;
}

interface Operation {
  readonly kind: "NotEqual" | "Any";
  readonly mask: string;
}

function firstNode(layer: JsonObject): JsonObject | undefined {
  const nodes = layer["inbound_nodes"];
  if (!isList(nodes) || nodes.length !== 1) return undefined;
  const [node] = nodes;
  return isObject(node) ? node : undefined;
}

/** The masks that operations of a graph stand for, by the operations' names. Other operations are not in the result. */
export function maskOperations(layers: readonly JsonObject[]): ReadonlyMap<string, string> {
  const found = new Map<string, Operation>();
  for (const layer of layers) {
    if (textAt(layer, "module")?.startsWith("keras.src.ops") !== true) continue;
    const operation = readOperation(layer, found);
    const name = textAt(layer, "name");
    if (operation !== undefined && name !== undefined) found.set(name, operation);
  }
  const made = madeBy(layers);
  const known = [...found].filter(([, { kind, mask }]) => made.has(`${kind} ${mask}`) || made.has(`Any ${mask}`));
  return new Map(known.map(([name, { mask }]) => [name, mask]));
}

function readOperation(layer: JsonObject, found: ReadonlyMap<string, Operation>): Operation | undefined {
  const node = firstNode(layer);
  if (node === undefined) return undefined;
  const [input] = referencesOfCall(node);
  const args = isList(node["args"]) ? node["args"] : [];
  if (input === undefined) return undefined;
  if (textAt(layer, "class_name") === "NotEqual" && typeof args[1] === "number") {
    return { kind: "NotEqual", mask: maskName(sourceName(input), args[1]) };
  }
  const inner = found.get(input[0]);
  const axis = isObject(layer["config"]) ? layer["config"]["axis"] : undefined;
  if (textAt(layer, "class_name") !== "Any" || inner?.kind !== "NotEqual" || !isLastAxis(axis)) return undefined;
  return { kind: "Any", mask: inner.mask };
}

function isLastAxis(axis: Json | undefined): boolean {
  return axis === -1 || (isList(axis) && axis.length === 1 && axis[0] === -1);
}

/** The masks that layers make by themselves. */
function madeBy(layers: readonly JsonObject[]): ReadonlySet<string> {
  const made = new Set<string>();
  for (const layer of layers) {
    const config = isObject(layer["config"]) ? layer["config"] : {};
    const className = textAt(layer, "class_name");
    const embedding = className === "Embedding" && config["mask_zero"] === true;
    if (!embedding && className !== "Masking") continue;
    const value = embedding ? 0 : (config["mask_value"] ?? 0);
    for (const node of isList(layer["inbound_nodes"]) ? layer["inbound_nodes"] : []) {
      const [input] = isObject(node) ? referencesOfCall(node) : [];
      if (input !== undefined) made.add(`${embedding ? "NotEqual" : "Any"} ${maskName(sourceName(input), value)}`);
    }
  }
  return made;
}
