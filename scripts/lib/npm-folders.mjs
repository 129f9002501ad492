// The folders that are published: the root package, and one package for each platform with nothing but its addon.
import { copyFileSync, cpSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { addonFile, packageName, platforms } from "./platforms.mjs";
import { root } from "./run.mjs";

const rootManifest = () => JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
const writeJson = (path, value) => writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);

/** Fields of the development manifest that mean nothing to who installs the package. */
const developmentOnly = ["scripts", "devDependencies", "napi"];

/**
 * Makes `<out>/root`: manifest with every platform package as an optional dependency of exactly this version, build,
 * the loader of the addon, README, licences.
 */
export function makeRootFolder(out) {
  const folder = join(out, "root");
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(join(folder, "native"), { recursive: true });
  const manifest = rootManifest();
  for (const field of developmentOnly) delete manifest[field];
  manifest.optionalDependencies = Object.fromEntries(platforms.map((p) => [packageName(p), manifest.version]));
  writeJson(join(folder, "package.json"), manifest);
  cpSync(join(root, "dist"), join(folder, "dist"), { recursive: true });
  for (const file of ["native/binding.cjs", "README.md", "LICENSE-MIT", "LICENSE-APACHE"]) {
    copyFileSync(join(root, file), join(folder, file));
  }
  return folder;
}

/** Makes `<out>/platforms/<key>` from the addon in `artifacts`. */
export function makePlatformFolder(out, platform, artifacts) {
  const addon = join(artifacts, addonFile(platform));
  if (!existsSync(addon)) throw new Error(`${addon} is missing: build it with scripts/build-addon.mjs`);
  const folder = join(out, "platforms", platform.key);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  copyFileSync(addon, join(folder, addonFile(platform)));
  const { version, license, engines, repository } = rootManifest();
  writeJson(join(folder, "package.json"), {
    name: packageName(platform),
    version,
    description: `The native part of keras-weights for ${platform.key}.`,
    license,
    ...(repository && { repository }),
    main: addonFile(platform),
    files: [addonFile(platform), "LICENSE-MIT", "LICENSE-APACHE"],
    os: [platform.os],
    cpu: [platform.cpu],
    ...(platform.libc && { libc: [platform.libc] }),
    engines,
  });
  writeFileSync(
    join(folder, "README.md"),
    `# ${packageName(platform)}\n\nThe native part of [keras-weights](https://www.npmjs.com/package/keras-weights) for ${platform.key}. Install that one.\n`,
  );
  for (const file of ["LICENSE-MIT", "LICENSE-APACHE"]) copyFileSync(join(root, file), join(folder, file));
  return folder;
}
