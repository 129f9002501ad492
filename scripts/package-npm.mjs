// Makes the folders that are published.
//
//   node scripts/package-npm.mjs --out npm --all artifacts   the root package and all platform packages
//   node scripts/package-npm.mjs --out npm --try artifacts   the root package and this platform's; packs both, installs
//                                                            them into an empty folder and uses them
import { join, resolve } from "node:path";

import { makePlatformFolder, makeRootFolder } from "./lib/npm-folders.mjs";
import { hostPlatform, packageName, platforms } from "./lib/platforms.mjs";
import { pack, tryTarballs } from "./lib/try-package.mjs";

const args = process.argv.slice(2);
const value = (name) => (args.includes(name) ? args[args.indexOf(name) + 1] : undefined);
const out = resolve(value("--out") ?? "npm");
const all = value("--all");
const artifacts = all ?? value("--try");
const wanted = all === undefined ? [hostPlatform()] : platforms;
if (artifacts === undefined || wanted.includes(undefined)) {
  console.error("usage: package-npm.mjs --out <folder> (--all | --try) <folder with the addons>");
  process.exit(2);
}

const rootFolder = makeRootFolder(out);
const folders = wanted.map((platform) => makePlatformFolder(out, platform, resolve(artifacts)));
console.log([rootFolder, ...folders].join("\n"));
if (all === undefined) {
  const tarballs = join(out, "tarballs");
  const checks = tryTarballs({
    rootTarball: pack(rootFolder, tarballs).tarball,
    platformTarball: pack(folders[0], tarballs).tarball,
    platformName: packageName(wanted[0]),
  });
  for (const { name, ok, detail } of checks) console.log(ok ? `ok     ${name}` : `FAILED ${name}\n${detail}`);
  process.exit(checks.every(({ ok }) => ok) ? 0 : 1);
}
