import type { Flavor } from "./flavor.ts";

/** Whatever opens a scope for the names of weights: a layer, or a literal name some Keras 2 layers open. */
export interface ScopeOwner {
  nameIn(flavor: Flavor): string;
}

/**
 * A place in the nesting of calls and builds in which weights get their names.
 * Keras 3 opens a scope for each layer that is called or built. Keras 2 opens one when a layer is called;
 * `layer.build()` by hand opens none, and some layers open one by name.
 */
export interface Scope {
  readonly parent: Scope | undefined;
  readonly owner: ScopeOwner;
  readonly keras2: boolean;
  readonly keras3: boolean;
}

let current: Scope | undefined;

/** The scope that is open now. */
export function currentScope(): Scope | undefined {
  return current;
}

/** Runs `body` inside `scope`, whatever is open now. */
export function inScope<T>(scope: Scope | undefined, body: () => T): T {
  const before = current;
  current = scope;
  try {
    return body();
  } finally {
    current = before;
  }
}

/** The names of the open scopes from outside in. */
export function scopeNames(scope: Scope | undefined, flavor: Flavor): string[] {
  const names: string[] = [];
  for (let at = scope; at !== undefined; at = at.parent) if (at[flavor]) names.push(at.owner.nameIn(flavor));
  return names.reverse();
}

/** A scope that only Keras 2 opens, by name. */
export function keras2Scope(name: string): Scope {
  return { parent: current, owner: { nameIn: () => name }, keras2: true, keras3: false };
}
