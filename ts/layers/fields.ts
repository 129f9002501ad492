import { isList, isObject, type Json, type JsonObject } from "../config/json.ts";
import { initializerConfig, parseInitializer, type Initializer, type InitializerSetting } from "../initializers.ts";
import { fail } from "../model/failure.ts";
import type { Flavor } from "../model/flavor.ts";
import { isLayer, type Layer } from "../model/layer.ts";

/** What reading a config needs from the outside: layers inside layers, and which Keras it is. */
export interface FieldReader {
  readonly flavor: Flavor | undefined;
  layer(config: Json): Layer;
}

/** What writing a config needs from the outside. */
export interface FieldWriter {
  readonly flavor: Flavor;
  layer(layer: Layer): Json;
}

/**
 * One entry of a layer's config: how it is read from an option or from JSON, and how Keras writes it.
 * `In` is what a program may give, `Out` what the definition works with.
 */
export interface Field<In, Out> {
  /** Absent: the entry must be given. */
  readonly fallback?: Out;
  /** The fallback of one flavour, where it is another. */
  readonly fallbackIn?: { readonly keras2?: Out; readonly keras3?: Out };
  /** The only flavour that has this entry. */
  readonly only?: Flavor;
  /** A flavour that leaves the entry out while it is null. */
  readonly omitNull?: Flavor;
  read(value: In | Json | Layer, reader: FieldReader, key: string): Out;
  write(value: Out, writer: FieldWriter): Json;
}

/** Entries by Keras' names. */
export type Fields = Readonly<Record<string, Field<never, unknown>>>;

/** What a definition works with, by Keras' names. */
export type ConfigOf<F extends Fields> = {
  readonly [K in keyof F]: F[K] extends Field<never, infer Out> ? Out : never;
};

type Camel<S> = S extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail>>}` : S;

/** What a program may give, by names in camel case. Everything is optional: positional arguments may give it too. */
export type OptionsOf<F extends Fields> = {
  readonly [K in keyof F as Camel<K>]?: (F[K] extends Field<infer In, unknown> ? In : never) | undefined;
};

/** `return_sequences` from `returnSequences`. */
export function toSnake(key: string): string {
  return key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}

const same = (value: Json): Json => value;

function expected(key: string, what: string, value: unknown): never {
  return fail("ERR_WEIGHTS_CONFIG", `${key} must be ${what}, not ${JSON.stringify(value)}`);
}

/** A number. */
export function number(fallback?: number): Field<number, number> {
  return field(
    fallback,
    (value, _, key) => (typeof value === "number" ? value : expected(key, "a number", value)),
    same,
  );
}

/** True or false. */
export function flag(fallback: boolean): Field<boolean, boolean> {
  return field(fallback, (value) => Boolean(value), same);
}

/** A string. */
export function text(fallback?: string): Field<string, string> {
  return field(
    fallback,
    (value, _, key) => (typeof value === "string" ? value : expected(key, "a string", value)),
    same,
  );
}

/** Anything JSON, kept as it is. */
export function json<T extends Json = Json>(fallback?: T): Field<T, T> {
  return field(fallback, (value) => value as T, same);
}

/** Anything JSON, with a default. */
export function anything(fallback: Json = null): Field<Json, Json> {
  return json(fallback);
}

/** The same number for each axis, or one for each. */
export function perAxis(rank: number, fallback?: number): Field<number | readonly number[], readonly number[]> {
  return field(
    fallback === undefined ? undefined : Array<number>(rank).fill(fallback),
    (value, _, key) => {
      if (typeof value === "number") return Array<number>(rank).fill(value);
      if (!isList(value)) return expected(key, `a number or ${rank} numbers`, value);
      if (value.length === 1 && rank !== 1) return Array<number>(rank).fill(Number(value[0]));
      if (value.length !== rank) return expected(key, `a number or ${rank} numbers`, value);
      return value.map(Number);
    },
    (value) => [...value],
  );
}

/** A list of numbers, or one number that stays one. */
export function numbers(
  fallback?: number | readonly number[],
): Field<number | readonly number[], number | readonly number[]> {
  return field(
    fallback,
    (value, _, key) => {
      if (typeof value === "number") return value;
      return isList(value) ? value.map(Number) : expected(key, "a number or a list of numbers", value);
    },
    (value) => (typeof value === "number" ? value : [...value]),
  );
}

/** A field that may also be null. */
export function nullable<In, Out>(inner: Field<In, Out>): Field<In | null, Out | null> {
  return {
    ...inner,
    fallback: inner.fallback ?? null,
    read: (value, reader, key) => (value === null ? null : inner.read(value, reader, key)),
    write: (value, writer) => (value === null ? null : inner.write(value, writer)),
  };
}

/** An activation: its name, or Keras' config of one, which is data and never run. */
export function activation(fallback: string | null = null): Field<string | Json, Json> {
  return field<string | Json, Json>(
    fallback ?? "linear",
    (value) => (value === null ? "linear" : (value as Json)),
    same,
  );
}

/** An initializer. */
export function initializer(fallback: string): Field<InitializerSetting, Initializer> {
  return {
    fallback: parseInitializer(fallback),
    read: (value, _, key) =>
      value === null || isLayer(value) || typeof value === "boolean" || isList(value)
        ? expected(key, "an initializer", value)
        : parseInitializer(value),
    write: (value, { flavor }) => initializerConfig(value, flavor),
  };
}

const modifierClasses: Readonly<Record<string, readonly [className: string, config: JsonObject]>> = {
  l1: ["L1", { l1: 0.01 }],
  l2: ["L2", { l2: 0.01 }],
  l1_l2: ["L1L2", { l1: 0.01, l2: 0.01 }],
  l1l2: ["L1L2", { l1: 0.01, l2: 0.01 }],
  orthogonal_regularizer: ["OrthogonalRegularizer", { factor: 0.01, mode: "rows" }],
  max_norm: ["MaxNorm", { max_value: 2, axis: 0 }],
  non_neg: ["NonNeg", {}],
  unit_norm: ["UnitNorm", { axis: 0 }],
  min_max_norm: ["MinMaxNorm", { min_value: 0, max_value: 1, rate: 1, axis: 0 }],
};

/** A regularizer (or constraint): a name or Keras' config of one. It only passes through. */
export function modifier(module: "regularizers" | "constraints" = "regularizers"): Field<string | Json, Json> {
  return field<string | Json, Json>(
    null,
    (value) => {
      const named = typeof value === "string" ? modifierClasses[value] : undefined;
      if (named === undefined) return value as Json;
      return { module: `keras.${module}`, class_name: named[0], config: named[1], registered_name: null };
    },
    same,
  );
}

/** A layer inside this one. */
export function inner(): Field<Layer, Layer> {
  return {
    read: (value, reader) => (isLayer(value) ? value : reader.layer(value)),
    write: (value, writer) => writer.layer(value),
  };
}

/** A list of layers inside this one. */
export function innerList(): Field<readonly Layer[], readonly Layer[]> {
  return {
    read: (value, reader, key) => {
      const items: unknown = value;
      if (!Array.isArray(items)) return expected(key, "a list of layers", value);
      return items.map((item: Layer | Json) => (isLayer(item) ? item : reader.layer(item)));
    },
    write: (value, writer) => value.map((layer) => writer.layer(layer)),
  };
}

/** The entry exists in one flavour only. */
export function only<In, Out>(flavor: Flavor, entry: Field<In, Out>): Field<In, Out> {
  return { ...entry, only: flavor };
}

/** The default of one flavour differs. */
export function otherwiseIn<In, Out>(flavor: Flavor, fallback: Out, entry: Field<In, Out>): Field<In, Out> {
  return { ...entry, fallbackIn: { [flavor]: fallback } };
}

/** One flavour leaves the entry out while it is null. */
export function omitNull<In, Out>(flavor: Flavor, entry: Field<In, Out>): Field<In, Out> {
  return { ...entry, omitNull: flavor };
}

function field<In, Out>(
  fallback: Out | undefined,
  read: (value: In | Json | Layer, reader: FieldReader, key: string) => Out,
  write: (value: Out, writer: FieldWriter) => Json,
): Field<In, Out> {
  return fallback === undefined ? { read, write } : { fallback, read, write };
}

/** Whether a JSON value names a Keras object: `{ class_name, config }`. */
export function isSerialized(value: unknown): value is { class_name: string; config: Json } {
  return isObject(value) && typeof value["class_name"] === "string";
}
