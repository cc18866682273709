import type { FileHandle } from 'node:fs/promises';
import { SnapshotterError } from '../errors.js';
import type { RootAttributes } from '../vocabulary.js';
import { decodeAttributes, inodeSize } from './inode.js';
import { MetadataReader } from './metadata-reader.js';
import { damaged, type Superblock } from './superblock.js';

/** An xattr as it lies in an image. Offsets are bytes from the start of the image. */
export interface XattrPlace {
  readonly offset: number;
  /** 1 is `user.`, 4 is `trusted.`: the name follows without its prefix. */
  readonly prefix: number;
  readonly name: string;
}

export interface Directory {
  readonly offset: number;
  readonly extended: boolean;
  readonly attributes: RootAttributes;
  /** Where the inode's xattrs begin, when it has any. */
  readonly xattrs: { readonly offset: number; readonly entries: readonly XattrPlace[] } | undefined;
}

/** Layouts of `i_format` (Linux 6.18): whole blocks, or whole blocks and a tail beside the inode. */
const flatPlain = 0;
const flatInline = 2;
const direntSize = 12;
const directoryFileType = 2;
const xattrHeaderSize = 12;
const xattrEntrySize = 4;

/**
 * Every directory of a layer, the root first.
 *
 * @throws SnapshotterError `data-loss` when the metadata leads nowhere; `failed-precondition` for a layout that the options of
 *   our own conversions never give.
 */
export function* directories(file: FileHandle, path: string, superblock: Superblock): Generator<Directory> {
  const reader = new MetadataReader(file, path);
  const pending = [superblock.rootOffset];
  const seen = new Set(pending);
  for (let offset = pending.pop(); offset !== undefined; offset = pending.pop()) {
    const inode = readInode(reader, offset);
    yield describe(reader, superblock, inode);
    for (const nid of childDirectories(reader, path, superblock, inode)) {
      const child = superblock.metadataOffset + nid * 32;
      if (seen.has(child)) continue; // `.` and `..`
      seen.add(child);
      pending.push(child);
    }
  }
}

interface Inode {
  readonly offset: number;
  readonly extended: boolean;
  readonly raw: Buffer;
  /** Bytes of xattrs between the inode and its inline tail. */
  readonly xattrBytes: number;
}

function readInode(reader: MetadataReader, offset: number): Inode {
  const extended = (reader.read(offset, 2).readUInt16LE(0) & 1) === 1;
  const raw = reader.read(offset, inodeSize(extended));
  const units = raw.readUInt16LE(2);
  return { offset, extended, raw, xattrBytes: units === 0 ? 0 : xattrHeaderSize + xattrEntrySize * (units - 1) };
}

function describe(reader: MetadataReader, superblock: Superblock, inode: Inode): Directory {
  const { offset, extended, raw, xattrBytes } = inode;
  const start = offset + raw.length;
  const xattrs =
    xattrBytes === 0 ? undefined : { offset: start, entries: readXattrs(reader, superblock, start, xattrBytes) };
  return { offset, extended, attributes: decodeAttributes(raw, extended, superblock), xattrs };
}

/** A header (name filter, number of shared ones), numbers of shared xattrs in units of 4 bytes, then the inode's own. */
function readXattrs(reader: MetadataReader, superblock: Superblock, start: number, length: number): XattrPlace[] {
  const body = reader.read(start, length);
  const sharedCount = body.readUInt8(4);
  const places: XattrPlace[] = [];
  let at = xattrHeaderSize + sharedCount * 4;
  for (let index = 0; index < sharedCount; index += 1) {
    const offset = superblock.sharedXattrsOffset + body.readUInt32LE(xattrHeaderSize + index * 4) * 4;
    places.push(readXattr(reader, offset));
  }
  while (at + xattrEntrySize <= length && body.readUInt8(at) !== 0) {
    places.push(readXattr(reader, start + at));
    const size = xattrEntrySize + body.readUInt8(at) + body.readUInt16LE(at + 2);
    at += Math.ceil(size / 4) * 4;
  }
  return places;
}

function readXattr(reader: MetadataReader, offset: number): XattrPlace {
  const entry = reader.read(offset, xattrEntrySize);
  const name = reader.read(offset + xattrEntrySize, entry.readUInt8(0)).toString('latin1');
  return { offset, prefix: entry.readUInt8(1), name };
}

function* childDirectories(
  reader: MetadataReader,
  path: string,
  superblock: Superblock,
  inode: Inode,
): Generator<number> {
  const { raw, offset, extended, xattrBytes } = inode;
  const layout = (raw.readUInt16LE(0) >> 1) & 7;
  if (layout !== flatPlain && layout !== flatInline) {
    throw new SnapshotterError('failed-precondition', `${path} has a directory of layout ${layout}`, {
      facts: { path },
    });
  }
  const size = extended ? Number(raw.readBigUInt64LE(8)) : raw.readUInt32LE(8);
  const start = raw.readUInt32LE(16) * superblock.blockSize;
  for (let at = 0; at < size; at += superblock.blockSize) {
    const length = Math.min(superblock.blockSize, size - at);
    const isTail = layout === flatInline && length < superblock.blockSize;
    yield* childrenInBlock(reader.read(isTail ? offset + raw.length + xattrBytes : start + at, length), path);
  }
}

/** A block of a directory: entries of 12 bytes, then the names; the first entry's name offset tells how many there are. */
function* childrenInBlock(block: Buffer, path: string): Generator<number> {
  const end = block.length < direntSize ? 0 : block.readUInt16LE(8);
  if (end < direntSize || end > block.length || end % direntSize !== 0)
    throw damaged(path, 'a directory in it is malformed');
  for (let at = 0; at < end; at += direntSize) {
    if (block.readUInt8(at + 10) === directoryFileType) yield Number(block.readBigUInt64LE(at));
  }
}
