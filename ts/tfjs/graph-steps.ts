// The calls of a functional model as steps, inputs first.
import type { JsonObject } from "../config/json.ts";
import type { LayerCall } from "./calls.ts";
import { classOf, configOf, modelClasses, nameOf, within } from "./entries.ts";
import { sourceName } from "./mask-operations.ts";
import type { MaskStep } from "./masks.ts";

/** What of a step does not depend on where it stands. */
export function stepOf(layer: JsonObject, path: string): Pick<MaskStep, "path" | "className" | "config"> {
  return { path: within(path, nameOf(layer)), className: classOf(layer), config: configOf(layer) };
}

/** What is known of a graph. */
export interface GraphParts {
  readonly layers: readonly JsonObject[];
  readonly calls: ReadonlyMap<string, readonly LayerCall[]>;
  /** Masks that operations make, by their names. */
  readonly masks: ReadonlyMap<string, string>;
  /** Nested models whose calls are counted from 0. */
  readonly fromZero: ReadonlySet<string>;
}

/** The steps; what is never reached is left out. */
export function graphSteps({ layers, calls, masks, fromZero }: GraphParts, path: string): MaskStep[] {
  const steps: MaskStep[] = [];
  const numbers = new Map<string, number>();
  let waiting = layers.flatMap((layer) => {
    const own = calls.get(nameOf(layer)) ?? [];
    const first = modelClasses.has(classOf(layer)) && !fromZero.has(nameOf(layer)) ? 1 : 0;
    const nodes: readonly Pick<LayerCall, "inputs" | "mask">[] = own.length === 0 ? [{ inputs: [] }] : own;
    return nodes.map((call, index) => ({ layer, ...call, key: `${nameOf(layer)}\0${index + first}` }));
  });
  for (let before = -1; before !== steps.length;) {
    before = steps.length;
    waiting = waiting.filter((call) => {
      const inputs = call.inputs.map(([name, index]) => numbers.get(`${name}\0${index}`));
      if (!inputs.every((input) => input !== undefined)) return true;
      numbers.set(call.key, steps.length);
      const [source] = call.inputs;
      steps.push({
        ...stepOf(call.layer, path),
        inputs,
        source: source === undefined ? "" : sourceName(source),
        given: call.mask && (masks.get(call.mask[0]) ?? sourceName(call.mask)),
      });
      return false;
    });
  }
  return steps;
}
