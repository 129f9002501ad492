import js from "@eslint/js";
import { defineConfig, globalIgnores } from "eslint/config";
import tseslint from "typescript-eslint";

const addonRule = {
  patterns: [
    {
      regex: "native/binding|\\.node$",
      message: "Only ts/native.ts sees the addon: import from ./native.ts.",
    },
  ],
};

export default defineConfig(
  globalIgnores(["dist", "native", "npm", "target", "**/node_modules", "__test__/fixtures"]),
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true } },
    rules: {
      "@typescript-eslint/consistent-type-imports": "error",
      "@typescript-eslint/explicit-module-boundary-types": "error",
      "@typescript-eslint/switch-exhaustiveness-check": "error",
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allowBoolean: true }],
      // Asynchronous verbs are `async` so that a wrong argument rejects and never throws.
      "@typescript-eslint/require-await": "off",
      // It does not come to an end on recursive types, such as a nesting of tensors.
      "@typescript-eslint/no-unsafe-class-instance-assignment": "off",
      eqeqeq: "error",
      "no-restricted-imports": ["error", addonRule],
    },
  },
  { files: ["ts/native.ts"], rules: { "no-restricted-imports": "off" } },
  {
    files: ["ts/**"],
    rules: { "no-console": "error" },
  },
  {
    files: ["__test__/**"],
    rules: {
      "@typescript-eslint/no-non-null-assertion": "off",
      "no-restricted-imports": "off",
    },
  },
  {
    files: ["**/*.mjs", "**/*.js", "**/*.cjs"],
    languageOptions: {
      globals: {
        ...Object.fromEntries(
          [
            "Buffer",
            "URL",
            "console",
            "process",
            "performance",
            "setTimeout",
            "clearTimeout",
            "setInterval",
            "clearInterval",
            "TextDecoder",
            "gc",
            "fetch",
          ].map((name) => [name, "readonly"]),
        ),
      },
    },
  },
);
