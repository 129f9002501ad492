// Makes the checksums of a changed file right again: a reader that stops at a checksum is tested no further.

function table(polynomial) {
  return Uint32Array.from({ length: 256 }, (_, n) => {
    let value = n;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ polynomial : value >>> 1;
    return value;
  });
}

function crc(tables, bytes) {
  let value = 0xffffffff;
  for (const byte of bytes) value = tables[(value ^ byte) & 0xff] ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

const castagnoli = table(0x82f63b78);
const ieee = table(0xedb88320);

/** CRC-32C, of TensorFlow's bundles and of OCDBT. */
export const crc32c = (bytes) => crc(castagnoli, bytes);
/** CRC-32, of zip archives. */
export const crc32 = (bytes) => crc(ieee, bytes);

/** How TensorFlow stores a CRC-32C. */
const masked = (value) => ((((value >>> 15) | (value << 17)) >>> 0) + 0xa282ead8) >>> 0;

/** Jenkins' lookup3, which HDF5 calls a checksum. */
export function lookup3(bytes) {
  const rotate = (x, k) => (x << k) | (x >>> (32 - k));
  let a = (0xdeadbeef + bytes.length) | 0;
  let b = a;
  let c = a;
  const at = (k) => bytes[k] ?? 0;
  const word = (k) => at(k) | (at(k + 1) << 8) | (at(k + 2) << 16) | (at(k + 3) << 24);
  let k = 0;
  for (; bytes.length - k > 12; k += 12) {
    a = (a + word(k)) | 0;
    b = (b + word(k + 4)) | 0;
    c = (c + word(k + 8)) | 0;
    a = ((a - c) ^ rotate(c, 4)) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ rotate(a, 6)) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ rotate(b, 8)) | 0;
    b = (b + a) | 0;
    a = ((a - c) ^ rotate(c, 16)) | 0;
    c = (c + b) | 0;
    b = ((b - a) ^ rotate(a, 19)) | 0;
    a = (a + c) | 0;
    c = ((c - b) ^ rotate(b, 4)) | 0;
    b = (b + a) | 0;
  }
  if (k === bytes.length) return c >>> 0;
  a = (a + word(k)) | 0;
  b = (b + word(k + 4)) | 0;
  c = (c + word(k + 8)) | 0;
  c = ((c ^ b) - rotate(b, 14)) | 0;
  a = ((a ^ c) - rotate(c, 11)) | 0;
  b = ((b ^ a) - rotate(a, 25)) | 0;
  c = ((c ^ b) - rotate(b, 16)) | 0;
  a = ((a ^ c) - rotate(c, 4)) | 0;
  b = ((b ^ a) - rotate(a, 14)) | 0;
  c = ((c ^ b) - rotate(b, 24)) | 0;
  return c >>> 0;
}

/** A varint as protobuf has it; numbers beyond what a file can have are of no interest. */
function varint(bytes, at) {
  let value = 0;
  for (let shift = 1; ; shift *= 128) {
    const byte = bytes[at++] ?? 0;
    value += (byte & 0x7f) * shift;
    if (byte < 128 || shift > 2 ** 42) return [value, at];
  }
}

/** Where the blocks of a TensorFlow table are: offset and length without the five bytes behind each. */
export function tableBlocks(bytes) {
  const end = bytes.length - 48;
  if (end < 0) return [];
  let at = end;
  const handle = (from, start) => {
    const [offset, next] = varint(from, start);
    const [size, after] = varint(from, next);
    return [{ offset, size }, after];
  };
  const [meta, afterMeta] = handle(bytes, at);
  const [index] = handle(bytes, afterMeta);
  const blocks = [meta, index];
  const content = bytes.subarray(index.offset, index.offset + index.size);
  const restarts = content.length < 4 ? 0 : content.readUInt32LE(content.length - 4);
  at = 0;
  while (at < content.length - 4 - 4 * restarts) {
    let own, length;
    [, at] = varint(content, at);
    [own, at] = varint(content, at);
    [length, at] = varint(content, at);
    const [block] = handle(content, at + own);
    blocks.push(block);
    at += own + length;
  }
  return blocks.filter(({ offset, size }) => offset + size + 5 <= bytes.length);
}

/** Members of a zip archive that are stored as they are, by what the archive itself says. */
export function storedMembers(bytes) {
  let end = bytes.length - 22;
  while (end >= 0 && bytes.readUInt32LE(end) !== 0x06054b50) end--;
  if (end < 0) return [];
  const members = [];
  let at = bytes.readUInt32LE(end + 16);
  for (let left = bytes.readUInt16LE(end + 10); left > 0 && at + 46 <= bytes.length; left--) {
    const local = bytes.readUInt32LE(at + 42);
    if (local + 30 > bytes.length) return members;
    const start = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
    const length = bytes.readUInt32LE(at + 24);
    if (bytes.readUInt16LE(at + 10) === 0 && start + length <= bytes.length)
      members.push({ central: at, local, start, length });
    at += 46 + bytes.readUInt16LE(at + 28) + bytes.readUInt16LE(at + 30) + bytes.readUInt16LE(at + 32);
  }
  return members;
}

function repairTable(before, bytes) {
  for (const { offset, size } of tableBlocks(before)) {
    if (offset + size + 5 > bytes.length) continue;
    bytes.writeUInt32LE(masked(crc32c(bytes.subarray(offset, offset + size + 1))), offset + size + 1);
  }
}

function repairZip(before, bytes) {
  for (const { central, local, start, length } of storedMembers(before)) {
    if (start + length > bytes.length || central + 20 > bytes.length) continue;
    const value = crc32(bytes.subarray(start, start + length));
    bytes.writeUInt32LE(value, central + 16);
    bytes.writeUInt32LE(value, local + 14);
  }
}

function repairHdf5(before, bytes) {
  const seal = (start, length) => {
    if (length < 0 || start + length + 4 > bytes.length) return;
    bytes.writeUInt32LE(lookup3(bytes.subarray(start, start + length)), start + length);
  };
  if (before[8] >= 2) seal(0, 44);
  for (let at = before.indexOf("OHDR"); at >= 0; at = before.indexOf("OHDR", at + 4)) {
    if (before[at + 4] !== 2 || at + 40 > before.length) continue;
    const flags = before[at + 5];
    const start = at + 6 + (flags & 0x20 ? 16 : 0) + (flags & 0x10 ? 4 : 0);
    const width = 1 << (flags & 3);
    const size = width > 4 ? 0 : before.readUIntLE(start, width);
    seal(at, start + width - at + size);
  }
  // What has a fixed place for its checksum: the headers of B-trees, heaps and chunk indexes.
  for (const [signature, length] of [
    ["BTHD", 34],
    ["FRHP", 142],
    ["FAHD", 24],
    ["EAHD", 68],
  ]) {
    for (let at = before.indexOf(signature); at >= 0; at = before.indexOf(signature, at + 4)) seal(at, length);
  }
}

/** Kinds of containers whose checksums can be put right. Each takes the file as it was and as it is. */
export const repairs = { table: repairTable, zip: repairZip, hdf5: repairHdf5 };
