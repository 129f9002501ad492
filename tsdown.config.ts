import { defineConfig } from "tsdown";

export default defineConfig({
  entry: { index: "ts/index.ts", tfjs: "ts/tfjs/index.ts" },
  format: ["esm", "cjs"],
  platform: "node",
  target: "node20",
  dts: { tsconfig: "tsconfig.build.json" },
  tsconfig: "tsconfig.build.json",
  outDir: "dist",
  clean: false,
  // The loader of the addon lies beside `dist` and is never bundled: `../native` is right from `ts` and from `dist`.
  deps: { neverBundle: [/native\/binding\.cjs$/] },
  // The same name whatever the package's "type": .mjs and .cjs, each with its own declarations.
  fixedExtension: true,
  sourcemap: true,
  inputOptions: { checks: { pluginTimings: false } },
});
