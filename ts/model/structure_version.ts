let version = 0;

/** Says that some layer got a weight, a sub-layer, another flag or another name: cached orders no longer hold. */
export function structureChanged(): void {
  version += 1;
}

/** Grows with every change of structure anywhere. */
export function structureVersion(): number {
  return version;
}
