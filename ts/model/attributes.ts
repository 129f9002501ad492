import type { Flavor } from "./flavor.ts";
import { byCodePoint, isDictionary } from "./structure.ts";
import type { Layer } from "./layer.ts";

/** What an attribute of a layer may hold that Keras follows: a layer, or lists and dictionaries of them. */
export type AttributeValue = { layer: Layer } | { list: AttributeValue[] } | { dict: [string, AttributeValue][] };

/** An attribute by its name. */
export type Attribute = readonly [name: string, value: AttributeValue];

/** Reads a property's value; undefined when no layer is in it, so that Keras would not follow it either. */
export function attributeValue(
  value: unknown,
  isLayer: (value: unknown) => value is Layer,
): AttributeValue | undefined {
  if (isLayer(value)) return { layer: value };
  if (Array.isArray(value)) {
    const list = value.map((item) => attributeValue(item, isLayer)).filter((item) => item !== undefined);
    return list.length > 0 ? { list } : undefined;
  }
  const entries = entriesOf(value);
  if (entries === undefined) return undefined;
  const dict: [string, AttributeValue][] = [];
  for (const [key, item] of entries) {
    const read = attributeValue(item, isLayer);
    if (read !== undefined) dict.push([String(key), read]);
  }
  return dict.length > 0 ? { dict } : undefined;
}

function entriesOf(value: unknown): Iterable<readonly [unknown, unknown]> | undefined {
  if (value instanceof Map) return value as Map<unknown, unknown>;
  return isDictionary(value) ? Object.entries(value) : undefined;
}

/** The layers in a value, lists and dictionaries in place. */
export function layersIn(value: AttributeValue): Layer[] {
  if ("layer" in value) return [value.layer];
  if ("list" in value) return value.list.flatMap(layersIn);
  return value.dict.flatMap(([, item]) => layersIn(item));
}

/** What a flavour tracks of some attributes: Keras 3 single layers, Keras 2 whole lists, dictionaries by sorted keys. */
export function trackedIn(attributes: readonly Attribute[], flavor: Flavor): AttributeValue[] {
  if (flavor === "keras3") {
    return unique(attributes.flatMap(([, value]) => layersIn(value))).map((layer) => ({ layer }));
  }
  const seen = new Set<Layer>();
  return attributes.flatMap(([, value]) => {
    if ("layer" in value) {
      if (seen.has(value.layer)) return [];
      seen.add(value.layer);
    }
    return [sorted(value)];
  });
}

function sorted(value: AttributeValue): AttributeValue {
  if ("layer" in value) return value;
  if ("list" in value) return { list: value.list.map(sorted) };
  const entries = [...value.dict].sort(([a], [b]) => byCodePoint(a, b));
  return { list: entries.map(([, item]) => sorted(item)) };
}

/** Each once, the first place counts. */
export function unique<T>(items: Iterable<T>): T[] {
  return [...new Set(items)];
}
