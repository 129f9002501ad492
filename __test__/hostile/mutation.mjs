// Changes files in the ways in which files are damaged, and in those in which attackers would change them.
import { repairs } from "./checksums.mjs";

/** Numbers at which parsers go wrong. */
const awkward = [
  0n, 1n, 2n, 3n, 7n, 8n, 0x7fn, 0x80n, 0xffn, 0x100n, 0x7fffn, 0x8000n, 0xffffn, 0x10000n, 0x7fffffffn, 0x80000000n,
  0xffffffffn, 0x100000000n, 0x3fffffffffffffffn, 0x7fffffffffffffffn, 0x8000000000000000n, 0xfffffffffffffff8n,
  0xffffffffffffffffn,
]; // prettier-ignore

const texts = ["../", "..\\", "/etc/hostname", "\u0000", '"', "{", "[[[[[[[[", "1e999", "-1", "NaN", "99999999999999999999", "\ud800"]; // prettier-ignore

/** A place in a file; metadata stand at its ends more often than in its middle. */
function place(random, length) {
  switch (random.below(5)) {
    case 0:
      return random.below(Math.min(length, 512));
    case 1:
      return random.below(Math.min(length, 4096));
    case 2:
      return length - 1 - random.below(Math.min(length, 512));
    default:
      return random.below(length);
  }
}

function writeNumber(random, bytes, at, value) {
  const width = Math.min(random.of([1, 2, 4, 8]), bytes.length - at);
  for (let k = 0; k < width; k++) bytes[at + k] = Number((value >> BigInt(8 * k)) & 0xffn);
  return bytes;
}

const splice = (bytes, at, removed, added) =>
  Buffer.concat([bytes.subarray(0, at), added, bytes.subarray(at + removed)]);

/** Each way to change a file that is not empty. Some work in place, some give a new buffer. */
const ways = [
  function bit(random, bytes) {
    bytes[place(random, bytes.length)] ^= 1 << random.below(8);
    return bytes;
  },
  function byte(random, bytes) {
    bytes[place(random, bytes.length)] = random.of([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
    return bytes;
  },
  function number(random, bytes) {
    const at = place(random, bytes.length);
    return writeNumber(random, bytes, at - (random.once(2) ? at % 8 : 0), random.of(awkward));
  },
  function near(random, bytes) {
    // One more or less than what stands there is a mistake that checks of plausibility let pass.
    const at = place(random, bytes.length);
    bytes[at] = bytes[at] + random.of([-2, -1, 1, 2, 8, -8]);
    return bytes;
  },
  function length(random, bytes) {
    const value = BigInt(bytes.length + random.of([-1, 0, 1, -8, 8, -bytes.length >> 1]));
    return writeNumber(random, bytes, place(random, bytes.length), value);
  },
  function pointer(random, bytes) {
    const at = place(random, bytes.length);
    return writeNumber(random, bytes, at - (at % 8), BigInt(place(random, bytes.length)));
  },
  function copy(random, bytes) {
    const size = 1 + random.below(64);
    const from = place(random, bytes.length);
    bytes.copyWithin(place(random, bytes.length), from, from + size);
    return bytes;
  },
  function swap(random, bytes) {
    const size = random.of([1, 2, 4, 8, 16, 40]);
    const [a, b] = [place(random, bytes.length), place(random, bytes.length)];
    const kept = Buffer.from(bytes.subarray(a, a + size));
    bytes.copyWithin(a, b, b + size);
    kept.copy(bytes, b);
    return bytes;
  },
  function fill(random, bytes) {
    const at = place(random, bytes.length);
    return bytes.fill(random.of([0, 0xff, 0x20]), at, Math.min(bytes.length, at + 1 + random.below(200)));
  },
  function cut(random, bytes) {
    return bytes.subarray(0, place(random, bytes.length));
  },
  function remove(random, bytes) {
    return splice(bytes, place(random, bytes.length), 1 + random.below(64), Buffer.alloc(0));
  },
  function insert(random, bytes) {
    const at = place(random, bytes.length);
    const from = place(random, bytes.length);
    return splice(bytes, at, 0, Buffer.from(bytes.subarray(from, from + 1 + random.below(64))));
  },
  function append(random, bytes) {
    return Buffer.concat([bytes, bytes.subarray(place(random, bytes.length))]);
  },
  function text(random, bytes) {
    const added = Buffer.from(random.of(texts));
    const at = place(random, bytes.length);
    return splice(bytes, at, random.once(2) ? added.length : 0, added);
  },
  function digits(random, bytes) {
    // A number in JSON or in the header of an array.
    const at = place(random, bytes.length);
    let start = at;
    while (start < bytes.length && !(bytes[start] >= 0x30 && bytes[start] <= 0x39)) start++;
    let end = start;
    while (end < bytes.length && bytes[end] >= 0x30 && bytes[end] <= 0x39) end++;
    const value = random.once(3) ? String(random.of(awkward)) : String(random.below(10 ** Math.max(1, end - start)));
    const same = value.slice(0, end - start).padStart(end - start, "9");
    return splice(bytes, start, end - start, Buffer.from(random.once(2) ? same : value));
  },
];

/** A changed copy of one file, with checksums made right in half of all cases where there are some. */
function changed(random, before, repair) {
  let bytes = Buffer.from(before);
  for (let left = 1 + random.below(random.once(4) ? 6 : 2); left > 0 && bytes.length > 0; left--) {
    bytes = random.of(ways)(random, bytes);
  }
  if (repair !== undefined && random.once(2)) repairs[repair](before, bytes);
  return bytes;
}

/**
 * A mutant: what is in the files of a seed after some of them were changed.
 *
 * @param {import("./random.mjs").Random} random
 * @param {Map<string, Buffer>} files
 * @param {Record<string, keyof typeof repairs>} repairOf By end of name.
 */
export function mutate(random, files, repairOf) {
  const names = [...files.keys()];
  const result = new Map(files);
  for (let left = random.once(5) ? 2 : 1; left > 0; left--) {
    const name = random.of(names);
    const repair = Object.entries(repairOf).find(([end]) => name.endsWith(end))?.[1];
    const fate = names.length > 1 ? random.below(40) : 2;
    if (fate === 0) result.delete(name);
    else if (fate === 1) result.set(name, files.get(random.of(names)));
    else result.set(name, changed(random, files.get(name), repair));
  }
  return result;
}
