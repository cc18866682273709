import type { FileHandle } from 'node:fs/promises';
import { CodedError } from '../errors.js';
import type { RootAttributes } from '../vocabulary.js';
import { DirectoryBlock, type DirectoryEntry } from './directory-block.js';
import { decodeAttributes, inodeSize } from './inode.js';
import { MetadataReader, usualChunks } from './metadata-reader.js';
import { damaged, type Superblock } from './superblock.js';
import { rawXattrs, readXattrs, readXattrValue, xattrBytes, type XattrPlace } from './xattrs.js';

/** Anything that has an inode. */
export interface Node {
  /** Bytes from the start of the image. */
  readonly offset: number;
  readonly extended: boolean;
  readonly inode: Buffer;
  /** Where the inode's xattrs begin, in bytes from the start of the image, and how many bytes they take. */
  readonly xattrs: { readonly start: number; readonly length: number };
}

export type Directory = Node;

/** Layouts of `i_format` (Linux 6.18): whole blocks, whole blocks and a tail beside the inode, or chunks. 1 and 3 are compressed. */
export const flatPlain = 0;
export const flatInline = 2;
export const chunkBased = 4;
const directoryType = 0o040000;
const typeMask = 0o170000;
/** Inodes are numbered in units of 32 bytes. */
const bytesPerNid = 32;

/**
 * The directories of an image, and the inodes that they name.
 *
 * All methods throw CodedError: `data-loss` when the metadata leads nowhere; `failed-precondition` for a layout that the
 * options of our own conversions never give.
 */
export class ImageTree {
  readonly #path: string;
  readonly #superblock: Superblock;
  readonly #reader: MetadataReader;

  constructor(file: FileHandle, path: string, superblock: Superblock, maximumChunks = usualChunks) {
    this.#path = path;
    this.#superblock = superblock;
    this.#reader = new MetadataReader(file, path, maximumChunks);
  }

  root(): Directory {
    return this.#directory(this.#superblock.rootOffset);
  }

  attributes({ inode, extended }: Node): RootAttributes {
    return decodeAttributes(inode, extended, this.#superblock);
  }

  xattrs({ xattrs }: Node): XattrPlace[] {
    return readXattrs(this.#reader, { ...xattrs, shared: this.#superblock.sharedXattrsOffset }, this.#path);
  }

  xattrValue(xattr: XattrPlace): Buffer {
    return readXattrValue(this.#reader, xattr);
  }

  /**
   * The xattrs that an overlay shows, as they stand in the image.
   *
   * @throws CodedError `failed-precondition` when another image could not spell one's name
   */
  shownXattrs(node: Node): readonly Buffer[] {
    if (node.xattrs.length === 0) return [];
    const raw = rawXattrs(this.#reader, this.xattrs(node));
    if (raw) return raw;
    throw new CodedError('failed-precondition', `${this.#path} has an xattr with a long prefix`, {
      facts: { path: this.#path },
    });
  }

  /** What stands at `name` in the directory: another one, something else, or nothing. */
  find(directory: Directory, name: string): Directory | 'other' | undefined {
    const entry = this.entry(directory, name);
    if (entry === undefined) return undefined;
    return entry.isDirectory ? this.#child(entry) : 'other';
  }

  /** @param name a byte string (latin1) */
  entry(directory: Directory, name: string): DirectoryEntry | undefined {
    const blocks = this.#blockCount(directory);
    if (blocks === 0) return undefined;
    const block = this.#block(
      directory,
      lastOf(blocks, (index) => this.#block(directory, index).name(0) <= name),
    );
    const entry = block.entry(lastOf(block.count, (index) => block.name(index) <= name));
    return entry.name === name ? entry : undefined;
  }

  /** In the order of the names' bytes; `.` and `..` are left out. */
  *entries(directory: Directory): Generator<DirectoryEntry> {
    for (let index = 0; index < this.#blockCount(directory); index += 1) {
      const block = this.#block(directory, index);
      for (let at = 0; at < block.count; at += 1) {
        const entry = block.entry(at);
        if (entry.name !== '.' && entry.name !== '..') yield entry;
      }
    }
  }

  /** The entries that are directories. Most are not, and their names are not even read. */
  *directoryEntries(directory: Directory): Generator<DirectoryEntry> {
    for (let index = 0; index < this.#blockCount(directory); index += 1) {
      const block = this.#block(directory, index);
      for (let at = 0; at < block.count; at += 1) {
        if (!block.isDirectory(at)) continue;
        const entry = block.entry(at);
        if (entry.name !== '.' && entry.name !== '..') yield entry;
      }
    }
  }

  /** Where an inode of this number lies. */
  node(nid: number): Node {
    return this.#node(this.#offsetOf(nid));
  }

  /** The number of the root's inode. */
  get rootNid(): number {
    return (this.#superblock.rootOffset - this.#superblock.metadataOffset) / bytesPerNid;
  }

  /** Bytes of the image, at this place. @throws CodedError `data-loss` when the image ends before */
  bytesAt(offset: number, length: number): Buffer {
    return this.#reader.read(offset, length);
  }

  /** All that a node holds, one block at most. */
  shortContent(node: Node): Buffer {
    const size = nodeSize(node);
    if (size > this.#superblock.blockSize) throw damaged(this.#path, `a symlink in it is ${size} bytes long`);
    return size === 0 ? Buffer.alloc(0) : this.#bytes(node, 0);
  }

  /** Every directory, the root first. */
  *directories(): Generator<Directory> {
    const pending = [this.root()];
    const seen = new Set<number>();
    for (let directory = pending.pop(); directory !== undefined; directory = pending.pop()) {
      yield directory;
      for (const entry of this.directoryEntries(directory)) {
        const child = this.#child(entry);
        if (seen.has(child.offset)) throw damaged(this.#path, 'a directory in it has two parents');
        seen.add(child.offset);
        pending.push(child);
      }
    }
  }

  #child({ nid }: DirectoryEntry): Directory {
    return this.#directory(this.#offsetOf(nid));
  }

  #offsetOf(nid: number): number {
    return this.#superblock.metadataOffset + nid * bytesPerNid;
  }

  #directory(offset: number): Directory {
    const node = this.#node(offset);
    const mode = node.inode.readUInt16LE(4);
    if ((mode & typeMask) !== directoryType) {
      throw damaged(this.#path, `the mode of a directory in it is 0${mode.toString(8)}`);
    }
    return node;
  }

  #node(offset: number): Node {
    const extended = (this.#reader.read(offset, 2).readUInt16LE(0) & 1) === 1;
    // A copy, which does not keep the chunk that it was read with.
    const inode = Buffer.from(this.#reader.read(offset, inodeSize(extended)));
    const xattrs = { start: offset + inode.length, length: xattrBytes(inode.readUInt16LE(2)) };
    return { offset, extended, inode, xattrs };
  }

  #blockCount(directory: Directory): number {
    return Math.ceil(nodeSize(directory) / this.#superblock.blockSize);
  }

  #block(directory: Directory, index: number): DirectoryBlock {
    return new DirectoryBlock(this.#bytes(directory, index), this.#path);
  }

  /** One block of what a directory or a symlink holds. */
  #bytes(node: Node, index: number): Buffer {
    const { inode, xattrs } = node;
    const layout = nodeLayout(node);
    if (layout !== flatPlain && layout !== flatInline) {
      throw new CodedError('failed-precondition', `${this.#path} has a directory or symlink of layout ${layout}`, {
        facts: { path: this.#path },
      });
    }
    const { blockSize } = this.#superblock;
    const length = Math.min(blockSize, nodeSize(node) - index * blockSize);
    const isTail = layout === flatInline && length < blockSize;
    const start = isTail ? xattrs.start + xattrs.length : (inode.readUInt32LE(16) + index) * blockSize;
    return this.#reader.read(start, Math.max(0, length));
  }
}

/** The layout of what it holds, as `i_format` has it. */
export function nodeLayout({ inode }: Node): number {
  return (inode.readUInt16LE(0) >> 1) & 7;
}

/** Bytes. */
export function nodeSize({ inode, extended }: Node): number {
  return extended ? Number(inode.readBigUInt64LE(8)) : inode.readUInt32LE(8);
}

/** The last index for which `holds`, which holds up to some index and not after it; 0 when it never does. */
function lastOf(count: number, holds: (index: number) => boolean): number {
  let [low, high] = [0, count - 1];
  while (low < high) {
    const middle = Math.ceil((low + high) / 2);
    if (holds(middle)) low = middle;
    else high = middle - 1;
  }
  return Math.max(0, low);
}
