import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { createHash, type Hash } from 'node:crypto';
import type { Implied } from '../erofs/index.js';
import type { Digest } from '../vocabulary.js';
import { TarCheck, type TarFindings } from './tar-check.js';

export interface InspectionRequest {
  readonly path: string;
  /** Take the sha256 of the whole file. */
  readonly digest: boolean;
  /** Check that the file is a tar that can be converted. */
  readonly tar: boolean;
}

export interface InspectionResult {
  /** Bytes. */
  readonly size: number;
  readonly digest?: Digest;
  /** What the tar has no entries for. */
  readonly implied?: Implied;
  /** What the tar's image takes, about. */
  readonly imageBytes?: number;
}

const bufferBytes = 1024 * 1024;
/** Headers of small files lie close together, so one small read often holds several. */
const headerBufferBytes = 64 * 1024;

/** Reads a file once; blocks its thread meanwhile, so it runs in a worker. Without a digest to take it reads the headers of a tar alone. */
export class Inspection {
  readonly #file: number;
  readonly #hash: Hash | undefined;
  readonly #check: TarCheck | undefined;
  readonly #buffer: Buffer;
  #position = 0;

  constructor({ path, digest, tar }: InspectionRequest) {
    this.#file = openSync(path, 'r');
    this.#hash = digest ? createHash('sha256') : undefined;
    this.#check = tar ? new TarCheck() : undefined;
    this.#buffer = Buffer.allocUnsafe(digest ? bufferBytes : headerBufferBytes);
  }

  /** Takes the next part; false at the end. */
  advance(): boolean {
    if (!this.#hash && this.#check) this.#skip(this.#check);
    const bytes = readSync(this.#file, this.#buffer, 0, this.#buffer.length, this.#position);
    if (bytes === 0) return false;
    const part = this.#buffer.subarray(0, bytes);
    this.#position += bytes;
    this.#hash?.update(part);
    this.#check?.push(part);
    return true;
  }

  /** To be called once, at the end. */
  finish(): InspectionResult {
    return {
      size: this.#position,
      ...(this.#hash ? { digest: digestOf(this.#hash) } : {}),
      ...(this.#check ? { implied: impliedBy(this.#check.finish()), imageBytes: this.#check.imageBytes } : {}),
    };
  }

  close(): void {
    closeSync(this.#file);
  }

  #skip(check: TarCheck): void {
    const left = Math.max(0, fstatSync(this.#file).size - this.#position);
    const bytes = Math.min(check.skippable, left);
    check.skip(bytes);
    this.#position += bytes;
  }
}

/** Ends the hash. */
export function digestOf(hash: Hash): Digest {
  return `sha256:${hash.digest('hex')}`;
}

export function impliedBy({ describesRoot, missingFolders }: TarFindings): Implied {
  return { root: !describesRoot, folders: missingFolders.length > 0 };
}
