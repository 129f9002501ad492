// What the package exports is a promise: nothing comes or goes unseen. Change these lists only on purpose.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import * as esm from "keras-weights";
import { expect, test } from "vitest";

/** Names in the last `export { … }` of the declarations: values, and types with `type` before them. */
function declaredExports(): string[] {
  const declarations = readFileSync(new URL("../../dist/index.d.mts", import.meta.url), "utf8");
  const list = [...declarations.matchAll(/^export \{ (.*) \};?$/gm)].at(-1)?.[1] ?? "";
  return list.split(", ").map((name) => name.replace(/^.* as /, ""));
}

test("values", () => {
  expect(Object.keys(esm).sort()).toMatchInlineSnapshot(`
    [
      "DeclaredLayer",
      "Functional",
      "InputLayer",
      "Layer",
      "Model",
      "Sequential",
      "Symbolic",
      "Tensor",
      "Variable",
      "WeightsError",
      "WeightsFile",
      "clearSession",
      "defineLayer",
      "describe",
      "dtypes",
      "errorCodes",
      "factory",
      "fields",
      "isDType",
      "isTensor",
      "isWeightsError",
      "knownDim",
      "layers",
      "loadWeights",
      "loadWeightsSync",
      "model",
      "modelFromConfig",
      "modelTreeVersion",
      "openWeights",
      "openWeightsSync",
      "registerLayer",
      "saveWeights",
      "saveWeightsSync",
      "sequential",
      "setRandomSeed",
      "tensor",
      "weight",
    ]
  `);
});

test("require gives the same as import", () => {
  const cjs = createRequire(import.meta.url)("keras-weights") as object;
  expect(Object.keys(cjs).sort()).toEqual(Object.keys(esm).sort());
});

test("types", () => {
  const values = new Set(Object.keys(esm));
  const types = declaredExports().map((name) => name.replace(/^type /, ""));
  expect(types.filter((name) => !values.has(name)).sort()).toMatchInlineSnapshot(`
    [
      "Attribute",
      "CallArgument",
      "CommonOptions",
      "ConfigOptions",
      "DType",
      "Description",
      "Dim",
      "Flavor",
      "FunctionalOptions",
      "HeldVariable",
      "Initializer",
      "InitializerSetting",
      "InputOptions",
      "JobOptions",
      "Json",
      "JsonObject",
      "LayerClass",
      "LayerContext",
      "LayerDefinition",
      "LayerFactory",
      "LayerOptions",
      "Limits",
      "LoadOptions",
      "LoadReport",
      "LoadSyncOptions",
      "ModelOptions",
      "ModelTree",
      "OpenOptions",
      "Overwrite",
      "OverwriteSync",
      "Part",
      "Progress",
      "RawArray",
      "RawArrayOf",
      "ReadOptions",
      "SaveContents",
      "SaveOptions",
      "SaveReport",
      "SaveSyncOptions",
      "SequentialItem",
      "Shape",
      "ShapeContext",
      "ShapeStructure",
      "SkippedLayer",
      "Source",
      "Structure",
      "SummaryOptions",
      "Target",
      "TensorDType",
      "TensorEntry",
      "TreeAttribute",
      "TreeNode",
      "TreeTracked",
      "TreeVariable",
      "TypedArray",
      "VerifyReport",
      "WeightOptions",
      "WeightSpec",
      "WeightsErrorCode",
      "WeightsErrorDetail",
      "WeightsErrorFields",
      "WeightsWarning",
    ]
  `);
});

test("layers", () => {
  expect(Object.keys(esm.layers).sort()).toMatchInlineSnapshot(`
    [
      "activation",
      "add",
      "average",
      "averagePooling1d",
      "averagePooling2d",
      "averagePooling3d",
      "batchNormalization",
      "concatenate",
      "conv1d",
      "conv2d",
      "conv3d",
      "dense",
      "dropout",
      "elu",
      "embedding",
      "flatten",
      "globalAveragePooling1d",
      "globalAveragePooling2d",
      "globalAveragePooling3d",
      "globalMaxPooling1d",
      "globalMaxPooling2d",
      "globalMaxPooling3d",
      "gru",
      "gruCell",
      "identity",
      "input",
      "lambda",
      "leakyRelu",
      "lstm",
      "lstmCell",
      "masking",
      "maxPooling1d",
      "maxPooling2d",
      "maxPooling3d",
      "maximum",
      "minimum",
      "multiply",
      "prelu",
      "relu",
      "reshape",
      "simpleRnn",
      "simpleRnnCell",
      "softmax",
      "subtract",
      "thresholdedRelu",
    ]
  `);
});

test("the package and its manifest, and nothing inside it", () => {
  const require = createRequire(import.meta.url);
  expect((require("keras-weights/package.json") as { name: string }).name).toBe("keras-weights");
  expect(() => require.resolve("keras-weights/dist/index.cjs")).toThrow(
    expect.objectContaining({ code: "ERR_PACKAGE_PATH_NOT_EXPORTED" }),
  );
});
