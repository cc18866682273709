import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync, writeSync } from 'node:fs';
import { errnoOf } from '../errors.js';
import { errorOf, type Failure } from './failure.js';
import { digestOf, impliedBy, type InspectionResult } from './inspection.js';
import { TarCheck } from './tar-check.js';
import { blockSize } from './tar-header.js';
import { endOfArchive } from './tar-mend.js';

/** Descriptors are numbers of this process, and stay their owner's. */
export interface RelayRequest {
  /** Where the tar comes from: the path of a file, or a descriptor. */
  readonly input: string | number;
  /** Where it goes, for mkfs.erofs. */
  readonly output: number;
  readonly limits: {
    /** Of the tar. */
    readonly tar: RelayLimit;
    /** Of what mkfs.erofs makes of it. */
    readonly image: RelayLimit;
  };
}

interface RelayLimit {
  readonly bytes: number;
  /** What is wrong with something larger. */
  readonly failure: Failure;
}

export interface RelayResult extends Required<Pick<InspectionResult, 'size' | 'digest' | 'implied'>> {
  /** Whether somebody read everything that was handed on, as far as the pipe did not hold the rest. */
  readonly isRead: boolean;
}

/** Whole blocks of a tar, so that its headers never come in parts. */
const bufferBytes = 2048 * blockSize;

/**
 * Hands a tar on while it takes its digest and checks its headers, so that the tar is written nowhere. No entry is handed on whose
 * header is refused. Blocks its thread, so it runs in a worker.
 *
 * The end-of-archive blocks are kept back until the whole tar is known: entries for the folders that it only implies go before them.
 */
export class Relay {
  readonly #request: RelayRequest;
  readonly #input: number;
  readonly #hash = createHash('sha256');
  readonly #check = new TarCheck();
  readonly #buffer = Buffer.allocUnsafe(bufferBytes);
  #size = 0;
  #handedOn = 0;
  /** Whether anybody reads what is handed on; the digest is of interest all the same. */
  #isRead = true;

  constructor(request: RelayRequest) {
    this.#request = request;
    const { input } = request;
    this.#input = typeof input === 'string' ? openSync(input, 'r') : input;
  }

  /** Bytes of the tar that were handed on. */
  get handedOn(): number {
    return this.#handedOn;
  }

  /** Bytes of the tar so far. */
  get size(): number {
    return this.#size;
  }

  /** Takes the next part; false at the end. @throws SnapshotterError as `TarCheck`, and the limit's */
  advance(): boolean {
    const part = this.#fill();
    const begin = this.#size;
    this.#size += part.length;
    const { tar, image } = this.#request.limits;
    if (this.#size > tar.bytes) throw errorOf(tar.failure);
    this.#hash.update(part);
    this.#check.push(part);
    if (this.#check.imageBytes > image.bytes) throw errorOf(image.failure);
    const end = this.#check.contentEnd;
    this.#handOn(part.subarray(this.#handedOn - begin, Math.max(0, end - begin)));
    this.#handedOn = Math.max(this.#handedOn, end);
    return part.length === bufferBytes;
  }

  /** To be called once, at the end, if nothing is wrong with where the tar came from. @throws SnapshotterError as `TarCheck` */
  finish(): RelayResult {
    const findings = this.#check.finish();
    for (const piece of endOfArchive(findings.missingFolders)) this.#handOn(piece);
    return { size: this.#size, digest: digestOf(this.#hash), implied: impliedBy(findings), isRead: this.#isRead };
  }

  /** Closes what was opened here. */
  close(): void {
    if (typeof this.#request.input === 'string') closeSync(this.#input);
  }

  #fill(): Buffer {
    let filled = 0;
    while (filled < bufferBytes) {
      const bytes = readSync(this.#input, this.#buffer, filled, bufferBytes - filled, null);
      if (bytes === 0) break;
      filled += bytes;
    }
    return this.#buffer.subarray(0, filled);
  }

  #handOn(bytes: Buffer): void {
    try {
      for (let at = 0; this.#isRead && at < bytes.length;) {
        at += writeSync(this.#request.output, bytes, at, bytes.length - at);
      }
    } catch (error) {
      // Why nobody reads it is for whoever waits for mkfs.erofs to say.
      if (errnoOf(error) !== 'EPIPE') throw error;
      this.#isRead = false;
    }
  }
}
