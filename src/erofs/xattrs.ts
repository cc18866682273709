import type { MetadataReader } from './metadata-reader.js';
import { damaged } from './superblock.js';

/** An xattr as it lies in an image. Offsets are bytes from the start of the image. */
export interface XattrPlace {
  readonly offset: number;
  /** 1 is `user.`, 4 is `trusted.`: the name follows without its prefix. */
  readonly prefix: number;
  readonly name: string;
  /** Bytes of the whole entry, without padding. */
  readonly length: number;
}

const trustedPrefix = 4;
/** Set in the prefix of a name that begins as a table in the image says, which our own conversions never write. */
export const longPrefix = 0x80;

const headerSize = 12;
const entrySize = 4;

/** Bytes of xattrs that follow an inode, from the count in it. */
export function xattrBytes(count: number): number {
  return count === 0 ? 0 : headerSize + entrySize * (count - 1);
}

/**
 * The xattrs of an inode, whose own begin at `start` and are `length` bytes long: a header (name filter, number of shared ones),
 * numbers of shared xattrs in units of 4 bytes, then the inode's own (`struct erofs_xattr_ibody_header`, Linux 6.18).
 *
 * @throws CodedError `data-loss` when they do not fit where they should be
 */
export function readXattrs(
  reader: MetadataReader,
  { start, length, shared }: { readonly start: number; readonly length: number; readonly shared: number },
  path: string,
): XattrPlace[] {
  if (length === 0) return [];
  const body = reader.read(start, length);
  const sharedCount = body.readUInt8(4);
  const places: XattrPlace[] = [];
  let at = headerSize + sharedCount * 4;
  if (at > length) throw damaged(path, `an inode in it shares ${sharedCount} xattrs in ${length} bytes`);
  for (let index = 0; index < sharedCount; index += 1) {
    places.push(readXattr(reader, shared + body.readUInt32LE(headerSize + index * 4) * 4));
  }
  // An access control list has a name of no bytes, so that does not end them.
  while (at + entrySize <= length) {
    places.push(readXattr(reader, start + at));
    const size = entrySize + body.readUInt8(at) + body.readUInt16LE(at + 2);
    if (at + size > length) throw damaged(path, 'an xattr in it is longer than its place');
    at += Math.ceil(size / 4) * 4;
  }
  return places;
}

function readXattr(reader: MetadataReader, offset: number): XattrPlace {
  const entry = reader.read(offset, entrySize);
  const name = reader.read(offset + entrySize, entry.readUInt8(0)).toString('latin1');
  return { offset, prefix: entry.readUInt8(1), name, length: entrySize + name.length + entry.readUInt16LE(2) };
}

export function readXattrValue(reader: MetadataReader, { offset, name, length }: XattrPlace): Buffer {
  const before = entrySize + name.length;
  return reader.read(offset + before, length - before);
}

/**
 * Xattrs as they stand in an image, padded to whole units of 4 bytes, without those that an overlay keeps to itself
 * (`trusted.overlay.*`, but not the nested `trusted.overlay.overlay.*`, which it shows by their shorter names).
 *
 * @returns undefined when one has a name that only its own image can spell
 */
export function rawXattrs(reader: MetadataReader, places: readonly XattrPlace[]): readonly Buffer[] | undefined {
  const shown = places.filter(({ prefix, name }) => prefix !== trustedPrefix || !/^overlay\.(?!overlay\.)/.test(name));
  if (shown.some(({ prefix }) => (prefix & longPrefix) !== 0)) return undefined;
  return shown.map(({ offset, length }) => {
    const entry = Buffer.alloc(Math.ceil(length / 4) * 4);
    reader.read(offset, length).copy(entry);
    return entry;
  });
}
