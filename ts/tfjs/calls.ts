// Which layer is called on what: inbound nodes of both flavours, in the form that TensorFlow.js reads.
import { isList, isObject, type Json, type JsonObject } from "../config/json.ts";

/** The output of a call: layer, number of the call, number of the tensor. */
export type TensorReference = readonly [layer: string, call: number, tensor: number];

/** One call of a layer. */
export interface LayerCall {
  readonly inputs: readonly TensorReference[];
  /** What TensorFlow.js has no place for. */
  readonly problems: readonly string[];
  readonly notes: readonly string[];
  /** The mask it is called with; Keras 3 only. */
  readonly mask?: TensorReference | undefined;
}

/** Whether a value is the output of a call, as configs write it. */
export function isReference(value: Json | undefined): value is [string, number, number] {
  return (
    isList(value) &&
    value.length === 3 &&
    typeof value[0] === "string" &&
    typeof value[1] === "number" &&
    typeof value[2] === "number"
  );
}

/** All references in a structure of lists and dictionaries, in order. */
export function references(value: Json | undefined): TensorReference[] {
  if (isReference(value)) return [value];
  if (isList(value)) return value.flatMap((item) => references(item));
  return isObject(value) ? Object.values(value).flatMap((item) => references(item)) : [];
}

/** Reads one node of `inbound_nodes`. */
export function readCall(node: Json, takesInitialState: boolean): LayerCall {
  if (isObject(node)) return readKeras3(node, takesInitialState);
  return readKeras2(isList(node) ? node : [], takesInitialState);
}

function tensorOf(value: Json): TensorReference | undefined {
  if (!isObject(value) || value["class_name"] !== "__keras_tensor__" || !isObject(value["config"])) return undefined;
  const history = value["config"]["keras_history"];
  return isReference(history) ? history : undefined;
}

/** All tensors in a Keras 3 argument; undefined if there is something else in it. */
function tensorsIn(value: Json): TensorReference[] | undefined {
  const tensor = tensorOf(value);
  if (tensor !== undefined) return [tensor];
  const items = isList(value) ? value : isObject(value) && !("class_name" in value) ? Object.values(value) : undefined;
  const found = items?.map((item) => tensorsIn(item));
  return found?.every((one) => one !== undefined) === true ? found.flat() : undefined;
}

/** The tensors that a Keras 3 call takes as arguments. */
export function referencesOfCall(node: JsonObject): TensorReference[] {
  const args = isList(node["args"]) ? node["args"] : [];
  return args.flatMap((arg) => tensorsIn(arg) ?? []);
}

function readKeras3(node: JsonObject, takesInitialState: boolean): LayerCall {
  const inputs: TensorReference[] = [];
  const problems: string[] = [];
  const notes: string[] = [];
  for (const arg of isList(node["args"]) ? node["args"] : []) {
    if (arg === null) continue;
    const found = tensorsIn(arg);
    if (found === undefined) problems.push("it is called with an argument that is no tensor");
    else inputs.push(...found);
  }
  const kwargs = isObject(node["kwargs"]) ? node["kwargs"] : {};
  let mask: TensorReference | undefined;
  for (const [name, value] of Object.entries(kwargs)) {
    if (value === null) continue;
    // What is passed to the model decides, whatever was recorded when the graph was made.
    if (name === "training") continue;
    const found = tensorsIn(value);
    if (name === "mask" && found?.length === 1) [mask] = found;
    else if (found !== undefined && (name === "inputs" || name === "sequences")) inputs.unshift(...found);
    else if (found !== undefined && name === "initial_state" && takesInitialState) inputs.push(...found);
    else readOption(name, value, problems, notes);
  }
  return { inputs, problems, notes, mask };
}

function readKeras2(node: readonly Json[], takesInitialState: boolean): LayerCall {
  const inputs: TensorReference[] = [];
  const problems: string[] = [];
  const notes: string[] = [];
  for (const item of node) {
    if (!isList(item)) continue;
    const [layer, call, tensor, kwargs] = item;
    const reference = [layer, call, tensor] as const;
    if (layer === "_CONSTANT_VALUE" || !isReference(reference as unknown as Json)) {
      problems.push("it is called with an argument that is no tensor");
      continue;
    }
    inputs.push(reference as TensorReference);
    for (const [name, value] of Object.entries(isObject(kwargs ?? null) ? (kwargs as JsonObject) : {})) {
      if (value === null) continue;
      const states = name === "initial_state" && takesInitialState ? references(value) : undefined;
      if (states === undefined) readOption(name, value, problems, notes);
      // Keras 2 may list the states as further inputs as well.
      else if (node.length === 1) inputs.push(...states);
    }
  }
  return { inputs, problems, notes };
}

function readOption(name: string, value: Json, problems: string[], notes: string[]): void {
  if (name === "training" && value === false) {
    notes.push("it is called with training=False, which TensorFlow.js does not keep: it will be trained with the rest");
  } else if (name === "training" && typeof value === "boolean") {
    problems.push("it is called with training=True, and TensorFlow.js predicts without");
  } else {
    problems.push(`it is called with the argument "${name}"`);
  }
}
