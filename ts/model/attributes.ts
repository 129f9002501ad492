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
  const read = readValue(value, isLayer);
  return read !== undefined && layersIn(read).length > 0 ? read : undefined;
}

/** Layers and containers; what Keras ignores in a container is left out, but not containers without layers. */
function readValue(value: unknown, isLayer: (value: unknown) => value is Layer): AttributeValue | undefined {
  if (isLayer(value)) return { layer: value };
  if (Array.isArray(value)) {
    return { list: value.map((item) => readValue(item, isLayer)).filter((item) => item !== undefined) };
  }
  const entries = entriesOf(value);
  if (entries === undefined) return undefined;
  const dict: [string, AttributeValue][] = [];
  for (const [key, item] of entries) {
    const read = readValue(item, isLayer);
    if (read !== undefined) dict.push([String(key), read]);
  }
  return { dict };
}

/**
 * An attribute as Keras' walk sees it; undefined when it finds nothing. Keras 3 numbers containers in containers, so an
 * empty one counts when another follows. Keras 2 does not look into containers in containers.
 */
export function walked(value: AttributeValue, flavor: Flavor): AttributeValue | undefined {
  if ("layer" in value) return value;
  const inner = (item: AttributeValue): AttributeValue | undefined => {
    if ("layer" in item) return item;
    return flavor === "keras3" ? (walked(item, flavor) ?? { list: [] }) : undefined;
  };
  if ("list" in value) {
    const list = withoutEmptyEnd(
      value.list.map(inner).filter((item) => item !== undefined),
      (item) => item,
    );
    return list.length > 0 ? { list } : undefined;
  }
  const entries = value.dict.flatMap(([key, item]): [string, AttributeValue][] => {
    const read = inner(item);
    return read === undefined ? [] : [[key, read]];
  });
  const dict = withoutEmptyEnd(entries, ([, item]) => item);
  return dict.length > 0 ? { dict } : undefined;
}

function withoutEmptyEnd<T>(items: readonly T[], valueOf: (item: T) => AttributeValue): T[] {
  const last = items.findLastIndex((item) => layersIn(valueOf(item)).length > 0);
  return items.slice(0, last + 1);
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
    return layersIn(value).length > 0 ? [sorted(value)] : [];
  });
}

function sorted(value: AttributeValue): AttributeValue {
  if ("layer" in value) return value;
  const items =
    "list" in value ? value.list : [...value.dict].sort(([a], [b]) => byCodePoint(a, b)).map(([, item]) => item);
  return { list: items.filter((item) => layersIn(item).length > 0).map(sorted) };
}

/** Each once, the first place counts. */
export function unique<T>(items: Iterable<T>): T[] {
  return [...new Set(items)];
}
