/** What a model is for the layouts of files. */
export type ModelKind = "sequential" | "functional" | "model";
