// The platforms that get a prebuilt addon, as npm and as cargo call them.

/**
 * `key` is the suffix of the npm package and of the addon file, in the words of @napi-rs/cli's loader.
 * `zig` is the target for cargo-zigbuild, with the oldest glibc that we promise.
 */
export const platforms = [
  {
    key: "linux-x64-gnu",
    target: "x86_64-unknown-linux-gnu",
    os: "linux",
    cpu: "x64",
    libc: "glibc",
    zig: "x86_64-unknown-linux-gnu.2.17",
  },
  {
    key: "linux-arm64-gnu",
    target: "aarch64-unknown-linux-gnu",
    os: "linux",
    cpu: "arm64",
    libc: "glibc",
    zig: "aarch64-unknown-linux-gnu.2.17",
  },
  {
    key: "linux-x64-musl",
    target: "x86_64-unknown-linux-musl",
    os: "linux",
    cpu: "x64",
    libc: "musl",
    zig: "x86_64-unknown-linux-musl",
  },
  {
    key: "linux-arm64-musl",
    target: "aarch64-unknown-linux-musl",
    os: "linux",
    cpu: "arm64",
    libc: "musl",
    zig: "aarch64-unknown-linux-musl",
  },
  { key: "darwin-x64", target: "x86_64-apple-darwin", os: "darwin", cpu: "x64" },
  { key: "darwin-arm64", target: "aarch64-apple-darwin", os: "darwin", cpu: "arm64" },
  { key: "win32-x64-msvc", target: "x86_64-pc-windows-msvc", os: "win32", cpu: "x64" },
  { key: "win32-arm64-msvc", target: "aarch64-pc-windows-msvc", os: "win32", cpu: "arm64" },
];

/** The C library of the Node that runs us: "glibc", "musl", or `undefined` where there is no such choice. */
export function hostLibc() {
  if (process.platform !== "linux") return undefined;
  return process.report.getReport().header.glibcVersionRuntime === undefined ? "musl" : "glibc";
}

/** The platform we run on, or `undefined` where none is prebuilt. */
export function hostPlatform() {
  const libc = hostLibc();
  return platforms.find((p) => p.os === process.platform && p.cpu === process.arch && p.libc === libc);
}

/** File name of the addon. */
export const addonFile = (platform) => `keras-weights.${platform.key}.node`;

/** npm name of the package that carries the addon. */
export const packageName = (platform) => `keras-weights-${platform.key}`;
