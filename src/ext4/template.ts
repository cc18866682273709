import { open } from 'node:fs/promises';
import { dataRegions } from '../host/index.js';
import { blockSize } from './args.js';

/** What an image holds besides zeros. */
export interface Template {
  readonly bytes: number;
  readonly pieces: readonly Piece[];
  /** Bytes of all pieces together. */
  readonly size: number;
}

interface Piece {
  readonly offset: number;
  readonly data: Buffer;
}

/** Bytes read at once. */
const stride = 1024 * 1024;
const zeros = Buffer.alloc(blockSize);

/** Reads what is not zero of an image, or undefined when that is more than `limit` bytes. */
export async function readTemplate(path: string, limit: number): Promise<Template | undefined> {
  const regions = await dataRegions(path);
  const file = await open(path, 'r');
  try {
    const { size: bytes } = await file.stat();
    const pieces: Piece[] = [];
    let size = 0;
    for (const region of regions) {
      const end = region.offset + region.length;
      for (let offset = region.offset; offset < end; offset += stride) {
        const buffer = Buffer.alloc(Math.min(stride, end - offset));
        const { bytesRead } = await file.read(buffer, 0, buffer.length, offset);
        for (const piece of nonZeroPieces(buffer.subarray(0, bytesRead), offset)) {
          size += piece.data.length;
          if (size > limit) return undefined;
          pieces.push(piece);
        }
      }
    }
    return { bytes, pieces, size };
  } finally {
    await file.close();
  }
}

/** Runs of blocks that are not zero, as copies, so that the buffer they were read into can go. */
function nonZeroPieces(buffer: Buffer, base: number): Piece[] {
  const pieces: Piece[] = [];
  let start: number | undefined;
  for (let at = 0; at < buffer.length; at += blockSize) {
    const block = buffer.subarray(at, at + blockSize);
    const isZero = block.equals(zeros.subarray(0, block.length));
    if (!isZero) start ??= at;
    else if (start !== undefined) {
      pieces.push({ offset: base + start, data: Buffer.from(buffer.subarray(start, at)) });
      start = undefined;
    }
  }
  if (start !== undefined) pieces.push({ offset: base + start, data: Buffer.from(buffer.subarray(start)) });
  return pieces;
}

/** Writes an image like the one that `template` was read from, to a path where no file is yet. */
export async function writeTemplate(template: Template, path: string): Promise<void> {
  const file = await open(path, 'wx', 0o600);
  try {
    await file.truncate(template.bytes);
    for (const { offset, data } of template.pieces) {
      for (let done = 0; done < data.length;) {
        done += (await file.write(data, done, data.length - done, offset + done)).bytesWritten;
      }
    }
  } finally {
    await file.close();
  }
}

/** Templates by key; those unused for longest go when all together pass `limit` bytes. */
export class TemplateCache {
  readonly #limit: number;
  /** In the order of last use, the latest at the end. */
  readonly #templates = new Map<string, Template>();
  #size = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get(key: string): Template | undefined {
    const template = this.#templates.get(key);
    if (template) {
      this.#templates.delete(key);
      this.#templates.set(key, template);
    }
    return template;
  }

  set(key: string, template: Template): void {
    this.#drop(key);
    this.#templates.set(key, template);
    this.#size += template.size;
    for (const oldest of this.#templates.keys()) {
      if (this.#size <= this.#limit) break;
      this.#drop(oldest);
    }
  }

  #drop(key: string): void {
    this.#size -= this.#templates.get(key)?.size ?? 0;
    this.#templates.delete(key);
  }
}
