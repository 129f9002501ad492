// What is published, from the binary to the import: builds this platform's addon as a release does, packs it and the
// root package, and looks at both as a stranger would.
//
//   npm run test:package                 build the addon and check everything
//   npm run test:package -- --reuse      take the addon of the last run
import { existsSync, readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

import { buildAddon } from "./build-addon.mjs";
import { newestGlibc } from "./lib/elf.mjs";
import { makePlatformFolder, makeRootFolder } from "./lib/npm-folders.mjs";
import { addonFile, hostPlatform, packageName, platforms } from "./lib/platforms.mjs";
import { root, run } from "./lib/run.mjs";
import { finish } from "./lib/suites.mjs";
import { pack, tryTarballs } from "./lib/try-package.mjs";

/** docs/ARCHITECTURE.md, budget: the addon on disk. */
const maxAddonBytes = 3 * 1000 * 1000;
/** The C library of CentOS 7. */
const maxGlibc = [2, 17];

const platform = hostPlatform();
if (platform === undefined) {
  console.error("no prebuilt addon exists for this platform");
  process.exit(2);
}
const artifacts = join(root, "artifacts");
const reuse = process.argv.includes("--reuse") && existsSync(join(artifacts, addonFile(platform)));
const addon = reuse ? join(artifacts, addonFile(platform)) : buildAddon(platform);

const checks = [];
const check = (name, ok, detail = "") => checks.push({ name, ok, detail });

const bytes = statSync(addon).size;
check(`the addon has ${bytes} bytes, at most ${maxAddonBytes}`, bytes <= maxAddonBytes);
if (platform.libc === "glibc") {
  const newest = newestGlibc(readFileSync(addon));
  const ok = newest !== undefined && (newest[0] - maxGlibc[0] || newest[1] - maxGlibc[1]) <= 0;
  check(`the addon asks for GLIBC ${newest?.join(".")}, at most ${maxGlibc.join(".")}`, ok);
}

const out = join(root, "npm");
rmSync(out, { recursive: true, force: true });
const rootFolder = makeRootFolder(out);
const platformFolder = makePlatformFolder(out, platform, artifacts);
const packed = { root: pack(rootFolder, join(out, "tarballs")), platform: pack(platformFolder, join(out, "tarballs")) };

const manifest = JSON.parse(readFileSync(join(rootFolder, "package.json"), "utf8"));
check("no install scripts", manifest.scripts === undefined);
check("no dependencies but the platform packages", manifest.dependencies === undefined);
const pinned = Object.entries(manifest.optionalDependencies);
check(
  "every platform package is an optional dependency of exactly this version",
  pinned.length === platforms.length && pinned.every(([, version]) => version === manifest.version),
  JSON.stringify(manifest.optionalDependencies),
);
const loader = readFileSync(join(rootFolder, "native", "binding.cjs"), "utf8");
const unknown = platforms.filter(
  (p) => !loader.includes(`'${packageName(p)}'`) || !loader.includes(`'./${addonFile(p)}'`),
);
check("the loader asks for these packages by name", unknown.length === 0, unknown.map(packageName).join(", "));

const surplus = packed.root.files.filter(
  (file) =>
    !/^(dist\/[^/.][^/]*\.(mjs|cjs|d\.mts|d\.cts)(\.map)?|native\/binding\.cjs|package\.json|README\.md|LICENSE-(MIT|APACHE))$/.test(
      file,
    ),
);
check("the root tarball holds the build, the loader, README and licences", surplus.length === 0, surplus.join(", "));
check("no addon in the root tarball", !packed.root.files.some((file) => file.endsWith(".node")));
check(
  "the platform tarball holds the addon",
  [...packed.platform.files].sort().join() ===
    ["LICENSE-APACHE", "LICENSE-MIT", "README.md", addonFile(platform), "package.json"].sort().join(),
  packed.platform.files.join(", "),
);

const toolChecks = [
  ["publint", ["--strict", rootFolder]],
  // Without node10: that resolution knows no `exports`, and Node has not used it since version 12.
  ["attw", [packed.root.tarball, "--no-emoji", "--profile", "node16"]],
];
for (const [tool, args] of toolChecks) check(tool, run(tool, args, { allowFailure: true }) === 0);

checks.push(
  ...tryTarballs({
    rootTarball: packed.root.tarball,
    platformTarball: packed.platform.tarball,
    platformName: packageName(platform),
  }),
);

console.log("");
for (const { name, ok, detail } of checks) console.log(ok ? `ok     ${name}` : `FAILED ${name}\n${detail}`);
console.log(`root tarball ${packed.root.size} bytes, platform tarball ${packed.platform.size} bytes`);
const failed = checks.filter(({ ok }) => !ok).length;
finish([{ suite: "package", passed: checks.length - failed, failed }]);
