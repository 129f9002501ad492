import type { DType, RawArray } from "../dtype.ts";

/** A weight, as far as loading and saving need it. */
export interface HeldVariable {
  /** Full name in the model. */
  readonly path: string;
  readonly dtype: DType;
  /** Grows with every change of the values. */
  readonly version: number;
  /** The values; made now if there are none yet. */
  read(): RawArray;
  /** Takes an array over as the values. */
  replace(raw: RawArray): void;
  /** Of a value that exists in files only: the variable that takes it. */
  readonly standsFor?: HeldVariable | undefined;
  /** Called on such a value when what it stands for was loaded in its place. */
  loaded?(): void;
}

/** A model as data, with what its numbers stand for. */
export interface Target {
  /** The model tree, version 1 (`docs/model-tree.schema.json`). */
  readonly tree: object;
  /** What the tree's nodes stand for, in its order. */
  readonly nodes: readonly object[];
  /** What the tree's variables stand for, in its order. */
  readonly variables: readonly HeldVariable[];
  /** Throws when a file of this format cannot be made of it. */
  readonly check?: ((format: string) => void) | undefined;
}
