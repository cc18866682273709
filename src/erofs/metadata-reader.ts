import { readSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { damaged } from './superblock.js';

const chunkSize = 16 * 1024;
/** 4 MiB. */
export const usualChunks = 256;
/** Bytes; beyond what any filesystem holds, and small enough for numbers to be exact. */
const largestFile = 2 ** 52;

/**
 * Reads small parts of an image, near each other, without a system call each; holds so many chunks of 16 KiB at most, whatever
 * the image's size. Reading is synchronous: what is read was written a moment ago, and lies in the page cache.
 */
export class MetadataReader {
  readonly #file: FileHandle;
  readonly #path: string;
  readonly #maximumChunks: number;
  readonly #chunks = new Map<number, Buffer>();

  constructor(file: FileHandle, path: string, maximumChunks: number) {
    this.#file = file;
    this.#path = path;
    this.#maximumChunks = maximumChunks;
  }

  /** @throws CodedError `data-loss` when the image ends before, as it does before every offset that no file can have. */
  read(offset: number, length: number): Buffer {
    if (offset > largestFile) throw this.#beyond(offset + length);
    const first = this.#chunk(Math.floor(offset / chunkSize));
    const start = offset % chunkSize;
    if (start + length <= chunkSize) return this.#whole(first.subarray(start, start + length), offset, length);
    const parts = [first.subarray(start)];
    for (let at = offset - start + chunkSize; at < offset + length; at += chunkSize) {
      parts.push(this.#chunk(at / chunkSize).subarray(0, Math.min(chunkSize, offset + length - at)));
    }
    return this.#whole(Buffer.concat(parts), offset, length);
  }

  #whole(buffer: Buffer, offset: number, length: number): Buffer {
    if (buffer.length === length) return buffer;
    throw this.#beyond(offset + length);
  }

  #beyond(end: number) {
    return damaged(this.#path, `its metadata points to byte ${end}, beyond its end`);
  }

  #chunk(index: number): Buffer {
    const known = this.#chunks.get(index);
    if (known) return known;
    const buffer = Buffer.alloc(chunkSize);
    const chunk = buffer.subarray(0, readSync(this.#file.fd, buffer, 0, chunkSize, index * chunkSize));
    for (const oldest of this.#chunks.keys()) {
      if (this.#chunks.size < this.#maximumChunks) break;
      this.#chunks.delete(oldest);
    }
    this.#chunks.set(index, chunk);
    return chunk;
  }
}
