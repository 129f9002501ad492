/** One value, or lists and dictionaries of them nested in any way, as Keras passes tensors. */
export type Structure<T> = T | readonly Structure<T>[] | { readonly [key: string]: Structure<T> };

type Leaf<T> = (value: unknown) => value is T;

/** The leaves in Keras' order: lists in place, dictionaries by sorted keys. */
export function flatten<T>(structure: unknown, isLeaf: Leaf<T>): T[] {
  const leaves: T[] = [];
  const visit = (value: unknown): void => {
    if (isLeaf(value)) leaves.push(value);
    else if (Array.isArray(value)) value.forEach(visit);
    else if (isDictionary(value)) for (const key of Object.keys(value).sort(byCodePoint)) visit(value[key]);
  };
  visit(structure);
  return leaves;
}

/** The same nesting with other leaves. Values that are neither leaf, list nor dictionary stay. */
export function mapStructure<T, U>(structure: Structure<T>, isLeaf: Leaf<T>, change: (leaf: T) => U): Structure<U> {
  if (isLeaf(structure)) return change(structure);
  if (Array.isArray(structure)) {
    return (structure as readonly Structure<T>[]).map((item) => mapStructure(item, isLeaf, change));
  }
  if (isDictionary(structure)) {
    const entries = Object.entries(structure as Record<string, Structure<T>>);
    return Object.fromEntries(entries.map(([key, item]) => [key, mapStructure(item, isLeaf, change)]));
  }
  return structure as unknown as Structure<U>;
}

/** Whether a value is a plain object, not a list and not an instance of a class. */
export function isDictionary(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** The order Python gives strings: by code point, where JavaScript compares UTF-16 units. */
export function byCodePoint(a: string, b: string): number {
  const left = Array.from(a);
  const right = Array.from(b);
  const shared = Math.min(left.length, right.length);
  for (let i = 0; i < shared; i += 1) {
    const difference = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
