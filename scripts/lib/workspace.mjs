// What cargo says about the workspace.
import { output } from "./run.mjs";

let metadata;

/** `cargo metadata` of our own packages. */
export function cargoPackages() {
  if (metadata === undefined) {
    const text =
      output("cargo", ["metadata", "--format-version", "1", "--no-deps", "--offline"]) ??
      output("cargo", ["metadata", "--format-version", "1", "--no-deps"]);
    if (text === undefined) throw new Error("cargo metadata failed: is cargo installed?");
    metadata = JSON.parse(text).packages;
  }
  return metadata;
}

/** Features of kw-formats: one for each format. `default` is their sum, `testing` is for tests. */
export function formatFeatures() {
  const formats = cargoPackages().find((found) => found.name === "kw-formats");
  return Object.keys(formats.features).filter((feature) => feature !== "default" && feature !== "testing");
}
