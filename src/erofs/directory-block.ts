import { damaged } from './superblock.js';

const direntSize = 12;
const directoryFileType = 2;

export interface DirectoryEntry {
  /** A byte string (latin1). */
  readonly name: string;
  readonly nid: number;
  readonly isDirectory: boolean;
  /** What the directory says that the inode is; see `entryTypes`. */
  readonly type: number;
}

/**
 * A block of a directory: entries of 12 bytes, then the names; the first entry's name offset tells how many there are. Names are
 * in the order of their bytes, within a block and from block to block (`struct erofs_dirent`, Linux 6.18).
 */
export class DirectoryBlock {
  readonly #block: Buffer;
  readonly #path: string;
  readonly count: number;

  /** @throws CodedError `data-loss` */
  constructor(block: Buffer, path: string) {
    const end = block.length < direntSize ? 0 : block.readUInt16LE(8);
    if (end < direntSize || end > block.length || end % direntSize !== 0) throw malformed(path);
    this.#block = block;
    this.#path = path;
    this.count = end / direntSize;
  }

  /** @throws CodedError `data-loss` */
  name(index: number): string {
    const start = this.#block.readUInt16LE(index * direntSize + 8);
    const isLast = index + 1 === this.count;
    const end = isLast ? this.#block.length : this.#block.readUInt16LE((index + 1) * direntSize + 8);
    if (start >= end || end > this.#block.length) throw malformed(this.#path);
    const padding = isLast ? this.#block.indexOf(0, start) : -1;
    return this.#block.toString('latin1', start, padding === -1 ? end : padding);
  }

  isDirectory(index: number): boolean {
    return this.#block[index * direntSize + 10] === directoryFileType;
  }

  entry(index: number): DirectoryEntry {
    const nid = Number(this.#block.readBigUInt64LE(index * direntSize));
    const type = this.#block.readUInt8(index * direntSize + 10);
    return { name: this.name(index), nid, isDirectory: type === directoryFileType, type };
  }
}

function malformed(path: string) {
  return damaged(path, 'a directory in it is malformed');
}
