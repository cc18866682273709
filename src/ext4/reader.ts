import { readSync } from 'node:fs';
import { damagedExt4, type Ext4Superblock } from './superblock.js';
import { CodedError } from '../errors.js';

/** `feature_incompat` bits that are understood: file types, a replayed journal's mark, extents, 64 bit, flexible groups, a checksum seed. */
const understood = 0x2 | 0x4 | 0x40 | 0x80 | 0x200 | 0x2000;
const needsRecovery = 0x4;
const extentsFlag = 0x80000;
const inlineFlags = 0x10000000;
const extentMagic = 0xf30a;
/** Levels of an extent tree (ext4.h: EXT4_MAX_EXTENT_DEPTH). */
const deepestExtents = 5;
/** Lengths above it are of extents that were allocated and never written: they read as zeros. */
const longestExtent = 32768;
/** Blocks that are kept: metadata lies close together. */
const mostCached = 512;
const xattrMagic = 0xea020000;
const xattrPrefixes = [
  '',
  'user.',
  'system.posix_acl_access',
  'system.posix_acl_default',
  'trusted.',
  '',
  'security.',
  'system.',
  'system.richacl',
];

/** ACL_USER and ACL_GROUP. */
const namesOneId = new Set([0x02, 0x08]);

export const typeMask = 0o170000;
export const folderType = 0o040000;
export const fileType = 0o100000;
export const linkType = 0o120000;

/** One inode, read. */
export interface Ext4Inode {
  readonly number: number;
  /** Type and permissions, as stat(2) has them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes. */
  readonly size: number;
  readonly links: number;
  /** Nanoseconds since the epoch. */
  readonly mtimeNs: bigint;
  /** As stat(2) has it; 0 for what is no device. */
  readonly device: { readonly major: number; readonly minor: number };
  readonly raw: Buffer;
}

export interface Ext4Region {
  /** Bytes in the file, and in the image. */
  readonly offset: number;
  readonly at: number;
  readonly length: number;
}

export interface Ext4Entry {
  readonly name: Buffer;
  readonly inode: number;
}

/**
 * Reads the files of an ext4 image without mounting it. Nothing that the image says is believed: every number is bounded by the
 * image before it is used, and what contradicts itself is an error. Layout: Linux 6.18, fs/ext4/ext4.h and xattr.h.
 *
 * All methods throw CodedError: `data-loss` when the image contradicts itself, `failed-precondition` for features that the
 * disks of {@link WritableLayers} never have.
 */
export class Ext4Reader {
  readonly #fd: number;
  readonly #path: string;
  readonly #super: Ext4Superblock;
  readonly #cache = new Map<number, Buffer>();

  constructor(fd: number, path: string, superblock: Ext4Superblock) {
    this.#fd = fd;
    this.#path = path;
    this.#super = superblock;
    const unknown = superblock.incompatible & ~understood;
    if (unknown !== 0 || (superblock.incompatible & needsRecovery) !== 0) {
      const what = unknown === 0 ? 'a journal that was not replayed' : `features 0x${unknown.toString(16)}`;
      throw new CodedError('failed-precondition', `the ext4 of the writable layer ${path} has ${what}`, {
        facts: { path },
        next: 'stop the container, or set guest_disks = "kernel"',
      });
    }
  }

  inode(number: number): Ext4Inode {
    const { inodes, inodesPerGroup, inodeSize, blockSize, descriptorSize, firstDataBlock } = this.#super;
    if (number < 1 || number > inodes) throw this.#damaged(`it names inode ${number}`);
    const group = Math.floor((number - 1) / inodesPerGroup);
    const descriptorAt = (firstDataBlock + 1) * blockSize + group * descriptorSize;
    const descriptor = this.#bytes(descriptorAt, descriptorSize);
    const high = descriptorSize >= 64 ? descriptor.readUInt32LE(0x28) * 2 ** 32 : 0;
    const table = descriptor.readUInt32LE(0x08) + high;
    const raw = this.#bytes(table * blockSize + ((number - 1) % inodesPerGroup) * inodeSize, inodeSize);
    return decode(number, Buffer.from(raw));
  }

  /** What a folder holds, without `.` and `..`, in the order of the disk. */
  *entries(folder: Ext4Inode): Generator<Ext4Entry> {
    const { blockSize } = this.#super;
    this.#mustFit(folder);
    for (const region of this.regions(folder)) {
      for (let offset = 0; offset < region.length; offset += blockSize) {
        yield* this.#block(region.at + offset, folder.number);
      }
    }
  }

  *#block(at: number, folder: number): Generator<Ext4Entry> {
    const block = this.#bytes(at, this.#super.blockSize);
    for (let place = 0; place < block.length;) {
      if (place + 8 > block.length) throw this.#damaged(`folder ${folder} has an entry without an end`);
      const length = block.readUInt16LE(place + 4);
      const nameLength = block.readUInt8(place + 6);
      if (length < 8 + nameLength || length % 4 !== 0 || place + length > block.length) {
        throw this.#damaged(`folder ${folder} has an entry of ${length} bytes`);
      }
      const inode = block.readUInt32LE(place);
      const name = Buffer.from(block.subarray(place + 8, place + 8 + nameLength));
      place += length;
      if (inode === 0 || nameLength === 0) continue;
      const text = name.toString('latin1');
      if (text === '.' || text === '..') continue;
      if (name.includes(0) || name.includes(0x2f)) throw this.#damaged(`folder ${folder} has a name with "/" or NUL`);
      yield { name, inode };
    }
  }

  target(link: Ext4Inode): Buffer {
    if (link.size > this.#super.blockSize) throw this.#damaged(`link ${link.number} has ${link.size} bytes`);
    const isFast = link.size < 60 && (link.raw.readUInt32LE(0x20) & extentsFlag) === 0;
    if (isFast) return Buffer.from(link.raw.subarray(0x28, 0x28 + link.size));
    const [region] = [...this.regions(link)];
    if (region === undefined || region.offset !== 0) throw this.#damaged(`link ${link.number} has no target`);
    return Buffer.from(this.#bytes(region.at, link.size));
  }

  /** Where the data of a file lie, in order; what is between them are holes. */
  *regions(inode: Ext4Inode): Generator<Ext4Region> {
    const flags = inode.raw.readUInt32LE(0x20);
    if ((flags & extentsFlag) === 0 || (flags & inlineFlags) !== 0) {
      if (inode.size === 0) return;
      throw this.#damaged(`inode ${inode.number} has data without extents`);
    }
    const state = { next: 0 };
    yield* this.#extents(inode, inode.raw.subarray(0x28, 0x28 + 60), deepestExtents, state);
  }

  *#extents(inode: Ext4Inode, node: Buffer, deepest: number, state: { next: number }): Generator<Ext4Region> {
    const { blockSize, blocks } = this.#super;
    const bad = (what: string) => this.#damaged(`the extents of inode ${inode.number} ${what}`);
    const [count, depth] = [node.readUInt16LE(2), node.readUInt16LE(6)];
    if (node.readUInt16LE(0) !== extentMagic || depth > deepest) throw bad('are none');
    if (12 + count * 12 > node.length) throw bad('are too many');
    for (let index = 0; index < count; index += 1) {
      const entry = node.subarray(12 + index * 12, 24 + index * 12);
      const first = entry.readUInt32LE(0);
      if (first < state.next) throw bad('are not in order');
      if (depth > 0) {
        const child = entry.readUInt32LE(4) + entry.readUInt16LE(8) * 2 ** 32;
        yield* this.#extents(inode, Buffer.from(this.#bytes(child * blockSize, blockSize)), depth - 1, state);
        continue;
      }
      const given = entry.readUInt16LE(4);
      const length = given > longestExtent ? given - longestExtent : given;
      const start = entry.readUInt32LE(8) + entry.readUInt16LE(6) * 2 ** 32;
      if (length === 0 || start + length > blocks) throw bad('lie outside');
      state.next = first + length;
      const offset = first * blockSize;
      const bytes = Math.min(length * blockSize, Math.max(0, inode.size - offset));
      if (given <= longestExtent && bytes > 0)
        yield { offset, at: start * blockSize, length: roundedFor(inode, bytes, blockSize) };
    }
  }

  xattrs(inode: Ext4Inode): (readonly [name: string, value: Buffer])[] {
    const { inodeSize, blockSize, blocks } = this.#super;
    const found: (readonly [string, Buffer])[] = [];
    if (inodeSize > 128) {
      const start = 128 + inode.raw.readUInt16LE(0x80);
      if (start + 4 <= inodeSize && inode.raw.readUInt32LE(start) === xattrMagic) {
        const area = inode.raw.subarray(start + 4);
        found.push(...this.#attributes(area, 0, area, inode.number));
      }
    }
    const block = inode.raw.readUInt32LE(0x68) + inode.raw.readUInt16LE(0x76) * 2 ** 32;
    if (block === 0) return found;
    if (block >= blocks) throw this.#damaged(`the attributes of inode ${inode.number} lie outside`);
    const area = Buffer.from(this.#bytes(block * blockSize, blockSize));
    if (area.readUInt32LE(0) !== xattrMagic) throw this.#damaged(`the attributes of inode ${inode.number} are none`);
    return [...found, ...this.#attributes(area, 32, area, inode.number)];
  }

  *#attributes(area: Buffer, from: number, values: Buffer, number: number): Generator<readonly [string, Buffer]> {
    for (let at = from; at + 4 <= area.length && area.readUInt32LE(at) !== 0;) {
      if (at + 16 > area.length) throw this.#damaged(`an attribute of inode ${number} has no end`);
      const nameLength = area.readUInt8(at);
      const prefix = xattrPrefixes[area.readUInt8(at + 1)];
      const valueAt = area.readUInt16LE(at + 2);
      const valueInode = area.readUInt32LE(at + 4);
      const size = area.readUInt32LE(at + 8);
      const nameAt = at + 16;
      if (
        prefix === undefined ||
        valueInode !== 0 ||
        nameAt + nameLength > area.length ||
        valueAt + size > values.length
      ) {
        throw this.#damaged(`an attribute of inode ${number} lies outside`);
      }
      const name = area.subarray(nameAt, nameAt + nameLength);
      if (name.includes(0)) throw this.#damaged(`an attribute of inode ${number} has NUL in its name`);
      const value = Buffer.from(values.subarray(valueAt, valueAt + size));
      yield [`${prefix}${name.toString()}`, prefix.startsWith('system.posix_acl') ? this.#accessList(value) : value];
      at = nameAt + ((nameLength + 3) & ~3);
    }
  }

  /** On the disk an entry has an id only when it names a user or group; in an attribute always (posix_acl_xattr.h). */
  #accessList(stored: Buffer): Buffer {
    const entries: Buffer[] = [Buffer.from([2, 0, 0, 0])];
    for (let at = 4; at < stored.length;) {
      if (at + 4 > stored.length) throw this.#damaged('an access list has no end');
      const hasId = namesOneId.has(stored.readUInt16LE(at));
      const end = at + (hasId ? 8 : 4);
      if (end > stored.length) throw this.#damaged('an access list has no end');
      entries.push(stored.subarray(at, end), ...(hasId ? [] : [Buffer.alloc(4, 0xff)]));
      at = end;
    }
    return Buffer.concat(entries);
  }

  /** A folder or link is no longer than what holds it. */
  #mustFit({ number, size }: Ext4Inode): void {
    const { blocks, blockSize } = this.#super;
    if (size > blocks * blockSize) throw this.#damaged(`folder ${number} has ${size} bytes`);
  }

  #bytes(at: number, length: number): Buffer {
    const { blockSize, blocks } = this.#super;
    const block = Math.floor(at / blockSize);
    const offset = at - block * blockSize;
    if (block >= blocks || offset + length > blockSize) throw this.#damaged(`it refers to byte ${at}`);
    const known = this.#cache.get(block);
    if (known) return known.subarray(offset, offset + length);
    const read = Buffer.allocUnsafe(blockSize);
    if (readSync(this.#fd, read, 0, blockSize, block * blockSize) !== blockSize) throw this.#damaged('it ends early');
    if (this.#cache.size >= mostCached) this.#cache.delete(this.#cache.keys().next().value ?? -1);
    this.#cache.set(block, read);
    return read.subarray(offset, offset + length);
  }

  #damaged(what: string): CodedError {
    return damagedExt4(this.#path, what);
  }
}

/** Folders are read by whole blocks. */
function roundedFor({ mode }: Ext4Inode, bytes: number, blockSize: number): number {
  return (mode & typeMask) === fileType ? bytes : Math.ceil(bytes / blockSize) * blockSize;
}

function decode(number: number, raw: Buffer): Ext4Inode {
  const mode = raw.readUInt16LE(0x00);
  const extra = raw.length > 128 ? raw.readUInt16LE(0x80) : 0;
  const seconds = BigInt(raw.readInt32LE(0x10));
  const mtimeExtra = extra >= 12 ? raw.readUInt32LE(0x88) : 0;
  return {
    number,
    mode,
    uid: raw.readUInt16LE(0x02) + raw.readUInt16LE(0x78) * 2 ** 16,
    gid: raw.readUInt16LE(0x18) + raw.readUInt16LE(0x7a) * 2 ** 16,
    size: raw.readUInt32LE(0x04) + raw.readUInt32LE(0x6c) * 2 ** 32,
    links: raw.readUInt16LE(0x1a),
    mtimeNs: (seconds + (BigInt(mtimeExtra & 3) << 32n)) * 1_000_000_000n + BigInt(mtimeExtra >>> 2),
    device: deviceOf(mode, raw),
    raw,
  };
}

/** The first block holds the old form, of 8 bits each, or the second the new one. */
function deviceOf(mode: number, raw: Buffer): Ext4Inode['device'] {
  const type = mode & typeMask;
  if (type !== 0o020000 && type !== 0o060000) return { major: 0, minor: 0 };
  const old = raw.readUInt32LE(0x28);
  if (old !== 0) return { major: (old >> 8) & 0xff, minor: old & 0xff };
  const device = raw.readUInt32LE(0x2c);
  return { major: (device >> 8) & 0xfff, minor: (device & 0xff) | ((device >>> 12) & 0xfff00) };
}
