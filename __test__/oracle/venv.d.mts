export declare function pythonOracle(): Promise<string>;
/** Real Keras in a process of its own; jobs are answered in order (judge.py says which there are). */
export declare class Judge {
  constructor(python: string, kerasVersion: 2 | 3);
  ask(job: object): Promise<unknown>;
  close(): Promise<void>;
}
