import type { JsonObject } from "../config/json.ts";
import type { InitializerSetting } from "../initializers.ts";
import type { Variable } from "../model/variable.ts";
import type { DType } from "../tensor.ts";

/** Whose optimizers: Keras 3's, Keras 2's since 2.11, or Keras 2's before (`keras.optimizers.legacy`). */
export type Family = "keras3" | "keras2" | "legacy";

/** A variable that an optimizer keeps for one variable of the model. */
export interface Slot {
  readonly name: string;
  /** Absent: the shape of the model's variable. */
  readonly shape?: readonly number[];
  /** Absent: that of the model's variable. */
  readonly dtype?: DType;
  /** Absent: zeros. */
  readonly initializer?: InitializerSetting;
  /** Whether it begins as a copy of the model's variable. */
  readonly copies?: true;
  /** Whether its name stands alone, without that of the model's variable; and without that of the optimizer. */
  readonly alone?: "scoped" | "bare";
  /** Whether only checkpoints hold it: Keras 2 makes it without a word to its list of variables. */
  readonly hidden?: true;
}

/** Slots that are made for one variable of the model before those for the next. */
type Round = (of: Variable, config: JsonObject) => readonly Slot[];

/** What an optimizer keeps: rounds over the model's variables, and what comes once before and after them. */
interface Kind {
  readonly rounds: (config: JsonObject) => readonly Round[];
  readonly before?: readonly Slot[];
  readonly after?: readonly Slot[];
}

function round(...names: readonly string[]): Round {
  const slots = names.map((name) => ({ name }));
  return () => slots;
}

function always(...rounds: readonly Round[]): Kind {
  return { rounds: () => rounds };
}

function numberAt(config: JsonObject, key: string, fallback: number): number {
  const value = config[key];
  return typeof value === "number" ? value : fallback;
}

/** One round for each name. */
function each(...names: readonly string[]): Round[] {
  return names.map((name) => round(name));
}

const accumulator = (config: JsonObject): Slot => ({
  name: "accumulator",
  initializer: numberAt(config, "initial_accumulator_value", 0.1),
});
const accumulating = always((_, config) => [accumulator(config)]);
const linear = always((_, config) => [accumulator(config), { name: "linear" }]);

function adam(first: string, second: string, largest: string): Kind {
  return {
    rounds: (config) => [round(first, second), ...(config["amsgrad"] === true ? each(largest) : [])],
  };
}

function rmsprop(first: string, momentum: string, average: string): Kind {
  return {
    rounds: (config) => [
      round(first),
      ...(numberAt(config, "momentum", 0) > 0 ? each(momentum) : []),
      ...(config["centered"] === true ? each(average) : []),
    ],
  };
}

/** Matrices have a factor for rows and one for columns; where there is no matrix, there is a placeholder for each. */
function factors({ shape, localName }: Variable, names: readonly [string, string] | undefined): readonly Slot[] {
  const [row, column] = names ?? [localName, localName];
  if (shape.length < 2) {
    const kind = names ? ({ hidden: true } as const) : ({ alone: "bare" } as const);
    return [row, column].map((name) => ({ name, shape: [], dtype: "int32", ...kind }));
  }
  const alone = names ? undefined : ({ alone: "scoped" } as const);
  return [
    { name: row, shape: shape.slice(0, -1), ...alone },
    { name: column, shape: [...shape.slice(0, -2), shape.at(-1) ?? 0], ...alone },
  ];
}

/** Muon trains what is no matrix as Adam does, and what its config leaves out. */
function muon({ shape, path }: Variable, config: JsonObject): readonly Slot[] {
  const excluded = config["exclude_layers"];
  const byAdam =
    shape.length !== 2 ||
    (config["exclude_embeddings"] !== false && path.toLowerCase().includes("embedding")) ||
    (Array.isArray(excluded) && excluded.some((word) => typeof word === "string" && matches(word, path)));
  return byAdam ? [{ name: "momentum" }, { name: "velocity" }] : [{ name: "momentum" }];
}

/** Keras searches with a regular expression; one that JavaScript does not know is taken as plain text. */
function matches(pattern: string, text: string): boolean {
  try {
    return new RegExp(pattern, "u").test(text);
  } catch {
    return text.includes(pattern);
  }
}

const keras3: Readonly<Record<string, Kind>> = {
  SGD: { rounds: (config) => (numberAt(config, "momentum", 0) === 0 ? [] : each("momentum")) },
  RMSprop: rmsprop("velocity", "momentum", "average_gradient"),
  Adam: adam("momentum", "velocity", "velocity_hat"),
  AdamW: adam("momentum", "velocity", "velocity_hat"),
  Adadelta: always(round("accumulated_grad", "accumulated_delta_var")),
  Adagrad: accumulating,
  Adamax: always(round("momentum", "norm")),
  Nadam: {
    ...always(round("momentum", "velocity")),
    after: [{ name: "variable", shape: [], initializer: "ones", alone: "bare" }],
  },
  Ftrl: linear,
  Lion: always(round("momentum")),
  Lamb: always(round("momentum", "velocity")),
  Adafactor: always((of) => [...factors(of, undefined), { name: "velocity" }]),
  Muon: always(muon),
  ScheduleFreeAdamW: always(() => [{ name: "momentum", copies: true }, { name: "velocity" }]),
};

const keras2: Readonly<Record<string, Kind>> = {
  SGD: always(round("m")),
  RMSprop: rmsprop("velocity", "momentum", "average_gradient"),
  Adam: adam("m", "v", "vhat"),
  AdamW: adam("m", "v", "vhat"),
  Adadelta: always(round("accumulated_grad", "accumulated_delta_var")),
  Adagrad: accumulating,
  Adamax: always(round("m", "u")),
  Nadam: {
    ...always(round("m", "v")),
    after: [{ name: "Variable", shape: [], initializer: "ones", alone: "scoped", hidden: true }],
  },
  Ftrl: linear,
  Lion: always(round("m")),
  Adafactor: always((of) => [...factors(of, ["r", "c"]), { name: "v" }]),
};

const legacy: Readonly<Record<string, Kind>> = {
  SGD: { rounds: (config) => (numberAt(config, "momentum", 0) > 0 ? each("momentum") : []) },
  RMSprop: rmsprop("rms", "momentum", "mg"),
  Adam: { rounds: (config) => each("m", "v", ...(config["amsgrad"] === true ? ["vhat"] : [])) },
  Adadelta: always(...each("accum_grad", "accum_var")),
  Adagrad: accumulating,
  Adamax: always(...each("m", "v")),
  Nadam: {
    ...always(...each("m", "v")),
    before: [{ name: "momentum_cache", shape: [], initializer: "ones", alone: "scoped" }],
  },
  Ftrl: linear,
};

const kinds: Readonly<Record<Family, Readonly<Record<string, Kind>>>> = { keras3, keras2, legacy };

const decayed = { decay: 0, learning_rate: 0.001 };
const betas = { beta_1: 0.9, beta_2: 0.999, ...decayed };

/** Numbers that Keras 2's old optimizers keep as variables in checkpoints, with their defaults, in Keras' order. */
const hyperparameters: Readonly<Record<string, Readonly<Record<string, number>>>> = {
  SGD: { decay: 0, learning_rate: 0.01, momentum: 0 },
  RMSprop: { ...decayed, momentum: 0, rho: 0.9 },
  Adam: betas,
  Adadelta: { ...decayed, rho: 0.95 },
  Adagrad: decayed,
  Adamax: betas,
  Nadam: betas,
  Ftrl: {
    beta: 0,
    decay: 0,
    l1_regularization_strength: 0,
    l2_regularization_strength: 0,
    learning_rate: 0.001,
    learning_rate_power: -0.5,
  },
};

/** The numbers that one of Keras 2's old optimizers keeps in variables; a schedule of the learning rate is none. */
export function hyperparametersOf(className: string, config: JsonObject): [name: string, value: number][] {
  return Object.entries(hyperparameters[className] ?? {}).flatMap(([name, fallback]) => {
    const value = config[name] ?? fallback;
    return typeof value === "number" ? [[name, value] as [string, number]] : [];
  });
}

/** Keras' spelling of a class name that may be in lower case; undefined for a class that is not Keras' own. */
export function knownClass(family: Family, name: string): string | undefined {
  const wanted = name.toLowerCase();
  return Object.keys(kinds[family]).find((known) => known.toLowerCase() === wanted);
}

/** The variables of a known class beside those that every optimizer has, in Keras' order. */
export function slotsOf(
  family: Family,
  className: string,
  config: JsonObject,
  trained: readonly Variable[],
): { readonly slot: Slot; readonly of: Variable | undefined }[] {
  const kind = kinds[family][className];
  if (kind === undefined) return [];
  const once = (slots: readonly Slot[] = []): { slot: Slot; of: undefined }[] =>
    slots.map((slot) => ({ slot, of: undefined }));
  const over = (rounds: readonly Round[]): { slot: Slot; of: Variable }[] =>
    rounds.flatMap((make) => trained.flatMap((of) => make(of, config).map((slot) => ({ slot, of }))));
  const averages: Round[] = [];
  if (config["use_ema"] === true && family !== "legacy") {
    averages.push(() => [{ name: "average", ...(family === "keras2" && { copies: true }) }]);
  }
  if (family === "keras3" && numberAt(config, "gradient_accumulation_steps", 0) > 0) {
    averages.push(() => [{ name: "gradient_accumulator" }]);
  }
  return [...once(kind.before), ...over([...averages, ...kind.rounds(config)]), ...once(kind.after)];
}
