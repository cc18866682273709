import { createHash, type Hash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { Digest } from '../../vocabulary.js';

export interface InspectionRequest {
  readonly path: string;
}

export interface InspectionResult {
  /** Bytes. */
  readonly size: number;
  readonly digest: Digest;
}

const bufferBytes = 1024 * 1024;

/** Takes the sha256 of a file; blocks its thread meanwhile, so it runs in a worker. */
export class Inspection {
  readonly #file: number;
  readonly #hash = createHash('sha256');
  readonly #buffer = Buffer.allocUnsafe(bufferBytes);
  #position = 0;

  constructor({ path }: InspectionRequest) {
    this.#file = openSync(path, 'r');
  }

  /** Takes the next part; false at the end. */
  advance(): boolean {
    const bytes = readSync(this.#file, this.#buffer, 0, this.#buffer.length, this.#position);
    if (bytes === 0) return false;
    this.#position += bytes;
    this.#hash.update(this.#buffer.subarray(0, bytes));
    return true;
  }

  /** To be called once, at the end. */
  finish(): InspectionResult {
    return { size: this.#position, digest: digestOf(this.#hash) };
  }

  close(): void {
    closeSync(this.#file);
  }
}

/** Ends the hash. */
export function digestOf(hash: Hash): Digest {
  return `sha256:${hash.digest('hex')}`;
}
