// One option of a layer: handed over, translated, left out, or refused.
import type { Json } from "../config/json.ts";
import type { Flavor } from "../model/flavor.ts";
import { translateActivation } from "./activations.ts";
import type { OptionRule } from "./layer-table.ts";
import type { Problems } from "./problems.ts";
import {
  translateConstraint,
  translateInitializer,
  translateRegularizer,
  type Translated,
} from "./training-objects.ts";

/** Whose option it is. */
export interface OptionPlace {
  readonly className: string;
  /** Name of the layer with the models it is in. */
  readonly where: string;
  readonly flavor: Flavor;
  readonly problems: Problems;
}

/** The value for TensorFlow.js; undefined when it is left out. */
export function translateOption(
  name: string,
  value: Json,
  rule: OptionRule | undefined,
  { className, where, flavor, problems }: OptionPlace,
): Json | undefined {
  switch (rule) {
    case "drop":
      return undefined;
    case "keep":
      return value;
    case "activation": {
      const found = translateActivation(value, flavor);
      if ("name" in found) return found.name;
      problems.refuse(where, className, found.reason);
      return undefined;
    }
    case "training": {
      const found = translateTraining(name, value);
      if (found.note !== undefined) problems.note(where, found.note);
      return found.value ?? undefined;
    }
    case "activity":
      if (value !== null) problems.note(where, `TensorFlow.js cannot call a layer that has an ${name}: it is left out`);
      return undefined;
    case undefined:
      if (value !== null && value !== false) {
        problems.refuse(where, className, `its option ${name} is not known to have a meaning in TensorFlow.js`);
      }
      return undefined;
    default: {
      const allowed = "only" in rule ? rule.only : rule.keepOnly;
      if (!allowed.some((one) => JSON.stringify(one) === JSON.stringify(value))) {
        const reason = `TensorFlow.js knows no other ${name} than ${JSON.stringify(allowed[0])}`;
        problems.refuse(where, className, reason);
        return undefined;
      }
      return "only" in rule ? undefined : value;
    }
  }
}

function translateTraining(name: string, value: Json): Translated {
  if (name.endsWith("_initializer")) return translateInitializer(value);
  return name.endsWith("_constraint") ? translateConstraint(value) : translateRegularizer(value);
}
