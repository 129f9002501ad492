// Which versions of the C library a Linux binary asks for, read from the file itself.
// Layout: "System V ABI", chapter 4 and 5 (ELF-64 headers), and "Linux Standard Base Core", §10.7 (symbol versions).

const SHT_GNU_VERNEED = 0x6ffffffe;

/** `[{ library, version }]`: every version that the 64-bit little-endian ELF file `bytes` needs, say libc.so.6 GLIBC_2.14. */
export function neededVersions(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u16 = (at) => view.getUint16(at, true);
  const u32 = (at) => view.getUint32(at, true);
  const u64 = (at) => Number(view.getBigUint64(at, true));
  if (u32(0) !== 0x464c457f || bytes[4] !== 2 || bytes[5] !== 1) throw new Error("not a 64-bit little-endian ELF file");

  const sectionAt = (index) => u64(0x28) + index * u16(0x3a);
  const needed = [];
  for (let index = 0; index < u16(0x3c); index += 1) {
    const header = sectionAt(index);
    if (u32(header + 4) !== SHT_GNU_VERNEED) continue;
    const strings = u64(sectionAt(u32(header + 0x28)) + 0x18);
    const text = (offset) => {
      const start = strings + offset;
      return new TextDecoder().decode(bytes.subarray(start, bytes.indexOf(0, start)));
    };
    let library = u64(header + 0x18);
    for (let left = u32(header + 0x2c); left > 0; left -= 1) {
      let version = library + u32(library + 8);
      for (let more = u16(library + 2); more > 0; more -= 1) {
        needed.push({ library: text(u32(library + 4)), version: text(u32(version + 8)) });
        version += u32(version + 12);
      }
      library += u32(library + 12);
    }
  }
  return needed;
}

/** The newest GLIBC_x.y that `bytes` needs, as `[x, y]`; `undefined` when it needs none. */
export function newestGlibc(bytes) {
  return neededVersions(bytes)
    .map(({ version }) => /^GLIBC_(\d+)\.(\d+)/.exec(version))
    .filter((match) => match !== null)
    .map((match) => [Number(match[1]), Number(match[2])])
    .sort((a, b) => a[0] - b[0] || a[1] - b[1])
    .at(-1);
}
