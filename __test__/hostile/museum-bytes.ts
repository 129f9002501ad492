/** Containers made byte by byte, for attacks that no writer would write. */
import { deflateRawSync } from "node:zlib";

import { crc32 } from "./checksums.mjs";

/** One member of an archive, and where its headers lie. */
export interface Member {
  readonly name: string;
  /** What is stored. */
  readonly bytes: Buffer;
  /** 0 stored, 8 deflated. */
  readonly method?: number;
  /** What the headers say that it has when it is inflated. */
  readonly length?: number;
  readonly crc?: number;
  /** Another member's place instead of one of its own. */
  readonly at?: number;
  /** Unix mode, for links. */
  readonly mode?: number;
}

export function deflated(name: string, content: Buffer): Member {
  return { name, bytes: deflateRawSync(content, { level: 9 }), method: 8, length: content.length, crc: crc32(content) };
}

export function stored(name: string, content: string | Buffer): Member {
  const bytes = Buffer.from(content);
  return { name, bytes, length: bytes.length, crc: crc32(bytes) };
}

/** A zip archive. `count` is the number of members that it claims. */
export function zip(members: readonly Member[], count = members.length): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let position = 0;
  for (const { name, bytes, method = 0, length = bytes.length, crc = 0, at, mode = 0o100644 } of members) {
    const text = Buffer.from(name);
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(0x800, 2);
    common.writeUInt16LE(method, 4);
    common.writeUInt32LE(crc, 10);
    common.writeUInt32LE(bytes.length, 14);
    common.writeUInt32LE(length, 18);
    common.writeUInt16LE(text.length, 22);
    const central = Buffer.alloc(46);
    central.writeUInt32LE(0x02014b50, 0);
    central.writeUInt16LE(0x031e, 4);
    common.copy(central, 6);
    central.writeUInt32LE(((mode << 16) >>> 0), 38); // prettier-ignore
    central.writeUInt32LE(at ?? position, 42);
    centrals.push(central, text);
    if (at !== undefined) continue;
    locals.push(Buffer.from("PK\x03\x04"), common, text, bytes);
    position += 30 + text.length + bytes.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(count, 8);
  end.writeUInt16LE(count, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(position, 16);
  return Buffer.concat([...locals, directory, end]);
}

/** A safetensors file: any text as its header, any number of zeros behind it. */
export function safetensors(header: string, data = 0, claimed = Buffer.byteLength(header)): Buffer {
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(claimed));
  return Buffer.concat([length, Buffer.from(header), Buffer.alloc(data)]);
}

/** A .npy array: any text as its header, any number of zeros behind it. */
export function npy(header: string, data = 0, claimed = header.length): Buffer {
  const length = Buffer.alloc(2);
  length.writeUInt16LE(claimed);
  return Buffer.concat([Buffer.from("\x93NUMPY\x01\x00", "latin1"), length, Buffer.from(header), Buffer.alloc(data)]);
}
