/** What the suites use of jsfive, which has no types of its own. */
declare module "jsfive" {
  export class Group {
    readonly keys: string[];
    readonly attrs: Readonly<Record<string, unknown>>;
    get(path: string): Group | Dataset;
  }
  export class File extends Group {
    constructor(bytes: ArrayBuffer, name: string);
  }
  export class Dataset {
    readonly value: unknown;
    readonly attrs: Readonly<Record<string, unknown>>;
  }
}
