import { isObject, textAt, type Json, type JsonObject } from "../config/json.ts";
import { parseInitializer, type InitializerSetting } from "../initializers.ts";
import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import { snakeCase } from "../model/naming.ts";
import type { Scope } from "../model/scope.ts";
import { Variable } from "../model/variable.ts";
import { rawArray, type DType } from "../tensor.ts";
import { hyperparametersOf, knownClass, slotsOf, type Family, type Slot } from "./slots.ts";

/** An optimizer's name (`"adam"`), Keras' config of one, or an {@link Optimizer}. */
export type OptimizerSetting = string | JsonObject | Optimizer;

/** A variable as a file has it, for optimizers of classes that are not Keras' own. */
export interface AdoptedVariable {
  readonly name: string;
  readonly shape: readonly number[];
  readonly dtype: DType;
}

/** @internal A variable that was made for a variable of the model, or once for all (`of` is undefined). */
export interface MadeSlot {
  readonly name: string;
  readonly of: Variable | undefined;
  readonly variable: Variable;
  /** Whether only checkpoints hold it. */
  readonly hidden: boolean;
}

/**
 * An optimizer as data: class, config, and the variables that training goes on from. Nothing here trains.
 *
 * ```ts
 * const model = await loadModel("trained.keras");
 * model.optimizer?.className; // "Adam"
 * model.optimizer?.variables.map(({ path, shape }) => [path, shape]);
 * ```
 */
export class Optimizer {
  /** Python class name: `Adam`. */
  readonly className: string;
  /** Which Keras it is of. */
  readonly flavor: Flavor;
  /** Whether it is one of Keras 2's old ones (`keras.optimizers.legacy`, and all before Keras 2.11). */
  readonly legacy: boolean;
  /** Keras' object name: `adam`. */
  readonly name: string;
  readonly #source: JsonObject;
  readonly #config: JsonObject;
  readonly #known: boolean;
  readonly #inner: Optimizer | undefined;
  readonly #own: readonly Variable[];
  readonly #rate: Variable | undefined;
  readonly #hyperparameters: readonly Variable[];
  #slots: readonly MadeSlot[] | undefined;

  /**
   * @param setting Name or config. A Keras 2 config without `is_legacy_optimizer` is of an old one, as in Keras.
   * @throws ERR_WEIGHTS_CONFIG
   */
  constructor(setting: string | JsonObject, flavor: Flavor) {
    const source: JsonObject = typeof setting === "string" ? { class_name: setting, config: {} } : setting;
    const given = textAt(source, "class_name");
    if (given === undefined) fail("ERR_WEIGHTS_CONFIG", "the config of an optimizer has no class_name");
    const config = isObject(source["config"]) ? source["config"] : {};
    const bare = given.slice(given.lastIndexOf(">") + 1);
    this.flavor = flavor;
    this.legacy = flavor === "keras2" && isLegacy(source, config);
    const known = knownClass(this.family, bare);
    this.className = known ?? bare;
    this.#inner = innerOf(bare, config, flavor);
    this.#known = known !== undefined || this.#inner !== undefined;
    this.#source = source;
    this.name = textAt(config, "name") ?? (flavor === "keras2" ? this.className : snakeCase(this.className));
    this.#config = { name: this.name, ...config };
    this.#rate = this.legacy ? undefined : this.#learningRate();
    this.#hyperparameters = this.legacy
      ? hyperparametersOf(this.className, this.#config).map(([name, value]) =>
          this.#make(name, [], "float32", value, this.#scope()),
        )
      : [];
    this.#own = this.#makeOwn();
  }

  /** @internal */
  get family(): Family {
    return this.legacy ? "legacy" : this.flavor;
  }

  /** Whether the variables that belong to the model's weights are there. */
  get built(): boolean {
    return this.#slots !== undefined;
  }

  /**
   * Its variables in Keras' order: the iteration, the learning rate (Keras 3), then what it keeps for each weight that
   * it trains. Before it is built only those that do not depend on a model.
   */
  get variables(): readonly Variable[] {
    const slots = this.slots.filter(({ hidden }) => !hidden).map(({ variable }) => variable);
    return [...this.#own, ...(this.#inner?.ownVariables ?? []), ...slots];
  }

  /** @internal Those that do not depend on a model. */
  get ownVariables(): readonly Variable[] {
    return [...this.#own, ...(this.#inner?.ownVariables ?? [])];
  }

  /** @internal Whether training, or a file, gave it any state. */
  get hasState(): boolean {
    return this.#slots?.some(({ variable: { value } }) => value !== undefined) ?? false;
  }

  /** @internal Its variables that do not depend on a model, without those of an optimizer inside. */
  get rootVariables(): readonly Variable[] {
    return this.#own;
  }

  /** @internal What it made for the model's variables. */
  get slots(): readonly MadeSlot[] {
    return this.#slots ?? [];
  }

  /** @internal The learning rate, where it is a variable: of Keras 2's only checkpoints keep it. */
  get rate(): Variable | undefined {
    return this.#rate;
  }

  /** @internal Numbers of its config that only checkpoints keep as variables: of Keras 2's old ones. */
  get hyperparameters(): readonly Variable[] {
    return this.#hyperparameters;
  }

  /** @internal The optimizer that it wraps. */
  get inner(): Optimizer | undefined {
    return this.#inner;
  }

  /**
   * Makes the variables for the weights that it trains, in their order. They hold no memory before they get a value.
   * Done by itself when a file is loaded.
   */
  build(trained: readonly Variable[]): void {
    if (this.#slots !== undefined || !this.#known) return;
    if (this.#inner !== undefined) {
      this.#inner.build(trained);
      this.#slots = this.#inner.#slots;
      return;
    }
    this.#slots = slotsOf(this.family, this.className, this.#config, trained).map(({ slot, of }) => ({
      name: slot.name,
      of,
      variable: this.#makeSlot(slot, of),
      hidden: slot.hidden ?? false,
    }));
  }

  /** @internal Takes over the variables that a file has for an optimizer nobody knows. */
  adopt(variables: readonly AdoptedVariable[]): void {
    if (this.#known) return;
    const [first] = this.#own;
    const rest = variables.slice(this.#own.length);
    const same = variables.length >= this.#own.length && variables[0]?.shape.length === 0;
    if (first === undefined || !same) return;
    this.#slots = rest.map(({ name, shape, dtype }) => ({
      name,
      of: undefined,
      variable: this.#make(name, shape, dtype, "zeros", undefined),
      hidden: false,
    }));
  }

  /** @internal Whether its class is one of Keras' own. */
  get known(): boolean {
    return this.#known;
  }

  /** Its config, in Keras' names. The learning rate is that of the variable, where there is one. */
  getConfig(): JsonObject {
    const config: Record<string, Json> = { ...this.#config };
    if (this.flavor === "keras2" && !this.legacy) config["is_legacy_optimizer"] ??= false;
    for (const { localName, value, version } of this.#hyperparameters) {
      if (version > 0) config[localName] = Number(value?.[0]);
    }
    const rate = this.#rateSaid();
    if (this.#inner !== undefined) config["inner_optimizer"] = this.#inner.serialize();
    else if (rate !== undefined) config["learning_rate"] = Number(rate);
    return config;
  }

  /** As `.keras` archives keep it: module, class, config. */
  serialize(): JsonObject {
    const config = this.getConfig();
    if (this.#known) {
      const module = this.legacy ? "keras.optimizers.legacy" : "keras.optimizers";
      return { module, class_name: this.className, config, registered_name: null };
    }
    const given = textAt(this.#source, "class_name") ?? this.className;
    const registered = this.#source["registered_name"] ?? (given.includes(">") ? given : null);
    const { module = null } = this.#source;
    return { module, class_name: this.className, config, registered_name: registered };
  }

  /** As HDF5 files keep it: class and config. */
  serializeLegacy(): JsonObject {
    const config = this.getConfig();
    if (this.#known) {
      const registered = this.flavor === "keras2" && !this.legacy;
      return { class_name: registered ? `Custom>${this.className}` : this.className, config };
    }
    const given = textAt(this.#source, "class_name") ?? this.className;
    return { class_name: textAt(this.#source, "registered_name") ?? given, config };
  }

  /** The learning rate that the variable says. A schedule stays what it is. */
  #rateSaid(): number | bigint | undefined {
    const scheduled = isObject(this.#config["learning_rate"]);
    return scheduled ? undefined : this.#rate?.value?.[0];
  }

  #learningRate(): Variable | undefined {
    const rate = this.#config["learning_rate"];
    const scope = this.flavor === "keras3" ? this.#scope() : undefined;
    if (this.#inner !== undefined) return this.#make("learning_rate", [], "float32", 0, scope);
    if (rate !== undefined && typeof rate !== "number") {
      // Keras 2 has a variable for what a schedule says at the moment.
      const first = isObject(rate) && isObject(rate["config"]) ? rate["config"]["initial_learning_rate"] : undefined;
      const now = typeof first === "number" ? first : 0;
      return this.flavor === "keras3" ? undefined : this.#make("current_learning_rate", [], "float32", now, scope);
    }
    const initial = rate ?? defaultRates[this.className] ?? 0.001;
    return this.#make("learning_rate", [], "float32", initial, scope);
  }

  #makeOwn(): Variable[] {
    const scope = this.flavor === "keras3" || this.legacy ? this.#scope() : undefined;
    const iteration = this.#make(this.legacy ? "iter" : "iteration", [], "int64", "zeros", scope);
    const own = this.#rate === undefined || this.flavor === "keras2" ? [iteration] : [iteration, this.#rate];
    if (this.#inner === undefined) return own;
    const scale = this.#config["initial_scale"];
    return [
      ...own,
      this.#make("step_counter", [], "int64", "zeros", scope),
      this.#make("dynamic_scale", [], "float32", typeof scale === "number" ? scale : 32768, scope),
    ];
  }

  /** Keras 3: `adam/net_dense_kernel_momentum`; Keras 2: `Adam/m/dense/kernel:0`; its old ones: `Adam/dense/kernel/m:0`. */
  #makeSlot(slot: Slot, of: Variable | undefined): Variable {
    const scope = slot.alone === "bare" ? undefined : this.#scope();
    const shape = slot.shape ?? of?.shape ?? [];
    const dtype = slot.dtype ?? of?.dtype ?? "float32";
    const name = slot.alone !== undefined || of === undefined ? slot.name : slotName(this.family, slot.name, of.path);
    const made = this.#make(name, shape, dtype, slot.initializer ?? "zeros", scope);
    if (slot.copies && of?.value !== undefined) {
      const copy = rawArray(dtype, of.size);
      (copy as Uint8Array).set(of.value as Uint8Array);
      made.replace(copy);
    }
    return made;
  }

  #make(
    name: string,
    shape: readonly number[],
    dtype: DType,
    initializer: InitializerSetting,
    scope: Scope | undefined,
  ): Variable {
    const { flavor } = this;
    const parsed = parseInitializer(initializer);
    return new Variable({ name, shape, dtype, trainable: false, initializer: parsed, scope, flavor: () => flavor });
  }

  #scope(): Scope {
    const { name } = this;
    return { parent: undefined, owner: { nameIn: () => name }, keras2: true, keras3: true };
  }
}

/** Learning rates that are not 0.001 unless given. */
const defaultRates: Readonly<Record<string, number>> = { SGD: 0.01, Lion: 0.0001, ScheduleFreeAdamW: 0.0025 };

function isLegacy(source: JsonObject, config: JsonObject): boolean {
  const said = config["is_legacy_optimizer"];
  if (typeof said === "boolean") return said;
  const module = textAt(source, "module");
  if (module !== undefined) return module.includes("legacy");
  return Object.keys(config).length > 0;
}

/** Keras 3's `LossScaleOptimizer` is an optimizer around another. */
function innerOf(className: string, config: JsonObject, flavor: Flavor): Optimizer | undefined {
  const inner = config["inner_optimizer"];
  if (flavor !== "keras3" || className !== "LossScaleOptimizer" || !isObject(inner)) return undefined;
  return new Optimizer(inner, flavor);
}

function slotName(family: Family, slot: string, path: string): string {
  if (family === "keras3") return `${path.replaceAll("/", "_")}_${slot}`;
  const bare = path.replace(/:0$/u, "");
  return family === "keras2" ? `${slot}/${bare}` : `${bare}/${slot}`;
}

/** The optimizer that a setting means. */
export function readOptimizer(setting: OptimizerSetting, flavor: Flavor): Optimizer {
  if (!(setting instanceof Optimizer)) return new Optimizer(setting, flavor);
  if (setting.flavor === flavor) return setting;
  return fail("ERR_WEIGHTS_ARGUMENT", `an optimizer of ${setting.flavor} cannot train a ${flavor} model`);
}
