import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import type { Implied } from '../../erofs/index.js';
import { blockSize } from '../tar/block.js';
import { CanonicalTar, type HandedOn } from '../tar/canonical.js';
import type { TarEntry } from '../tar/entry.js';
import { FirstPass, SecondPass, type Pass } from '../tar/passes.js';
import { TarReader, type TarSink } from '../tar/reader.js';
import type { LayerTree } from '../tar/tree.js';
import { errorOf, type ThreadError } from '../../thread-error.js';
import { digestOf, type InspectionResult } from './inspection.js';
import { Output } from './output.js';

/** Descriptors are numbers of this process, and stay their owner's. */
export interface RelayRequest {
  /** Where the tar comes from: the path of a file, or a descriptor. */
  readonly input: string | number;
  /** Where it goes, for mkfs.erofs. */
  readonly output: number;
  readonly limits: {
    /** Of the tar, as it came and as it is handed on. */
    readonly tar: RelayLimit;
    /** Of what mkfs.erofs makes of it. */
    readonly image: RelayLimit;
  };
}

interface RelayLimit {
  readonly bytes: number;
  /** What is wrong with something larger. */
  readonly failure: ThreadError;
}

export interface RelayResult extends InspectionResult {
  readonly implied: Implied;
  /** Whether the reader took everything that was handed on, as far as the pipe did not hold the rest. */
  readonly isRead: boolean;
  /** The entries handed on are not the layer's tree: a second relay, which is given this one's tree, hands it on. */
  readonly isOdd: boolean;
  /** What the image has to hold. */
  readonly handedOn: HandedOn;
  /** Bytes of long runs of zeros that were handed on. */
  readonly zeroBytes: number;
}

/** Bytes of zeros that count as a run. */
const zeroRun = Buffer.alloc(64 * 1024);

/** Whole blocks of a tar, so that its headers mostly do not come in parts. */
const bufferBytes = 2048 * blockSize;

/**
 * Reads a tar once, takes its digest, and hands its entries on in the one form that mkfs.erofs gets: headers that are written here, and
 * contents as they came. No entry is handed on that is refused. Blocks its thread, so it runs in a worker.
 */
export class Relay implements TarSink {
  readonly #request: RelayRequest;
  readonly #input: number;
  readonly #output: Output;
  readonly #hash = createHash('sha256');
  readonly #pass: Pass;
  readonly #first: FirstPass | undefined;
  readonly #reader: TarReader;
  readonly #buffer = Buffer.allocUnsafe(bufferBytes);
  readonly #canonical: CanonicalTar;
  #size = 0;
  #zeroBytes = 0;

  /** @param tree of the same tar, as a relay before found it out */
  constructor(request: RelayRequest, tree?: LayerTree) {
    this.#request = request;
    this.#output = new Output(request.output);
    const canonical = (this.#canonical = new CanonicalTar((bytes) => this.#output.write(bytes)));
    this.#first = tree ? undefined : new FirstPass(canonical);
    this.#pass = this.#first ?? this.#secondPass(tree, canonical);
    this.#reader = new TarReader(this);
    const { input } = request;
    this.#input = typeof input === 'string' ? openSync(input, 'r') : input;
  }

  /** What the layer's entries make, when they have to be handed on once more. */
  get oddTree(): LayerTree | undefined {
    return this.#first?.isOdd ? this.#first.tree : undefined;
  }

  /** Bytes that were handed on. */
  get handedOn(): number {
    return this.#output.written;
  }

  /** Bytes of the tar so far. */
  get size(): number {
    return this.#size;
  }

  /** Takes the next part; false at the end. @throws CodedError as `TarReader` and `LayerTree`, and the limit's */
  advance(): boolean {
    const part = this.#fill();
    this.#size += part.length;
    this.#checkTarBytes(this.#size);
    this.#hash.update(part);
    this.#reader.push(part);
    this.#checkImageBytes(0);
    this.#output.flush();
    return part.length === bufferBytes;
  }

  entry(entry: TarEntry): boolean {
    const isWanted = this.#pass.entry(entry);
    this.#checkImageBytes(0);
    return isWanted;
  }

  content(part: Buffer): void {
    this.#countZeros(part);
    this.#pass.content(part);
  }

  hole(bytes: number): void {
    this.#checkTarBytes(this.#output.written + bytes);
    this.#checkImageBytes(bytes);
    this.#zeroBytes += bytes;
    this.#pass.hole(bytes);
  }

  ended(): void {
    this.#pass.ended();
  }

  /** To be called once, at the end, if nothing is wrong with where the tar came from. @throws CodedError as `advance` */
  finish(): RelayResult {
    this.#reader.finish();
    const implied = this.#pass.finish(this.#size);
    this.#checkImageBytes(0);
    this.#output.flush();
    const isOdd = this.oddTree !== undefined;
    const { handedOn } = this.#canonical;
    const { isRead } = this.#output;
    return {
      size: this.#size,
      digest: digestOf(this.#hash),
      implied,
      isRead,
      isOdd,
      handedOn,
      zeroBytes: this.#zeroBytes,
    };
  }

  /** Closes what was opened here. */
  close(): void {
    if (typeof this.#request.input === 'string') closeSync(this.#input);
  }

  #secondPass(tree: LayerTree | undefined, canonical: CanonicalTar): SecondPass {
    if (!tree) throw new Error('a second pass needs the tree of the first');
    const pass = new SecondPass(tree, canonical);
    pass.begin();
    return pass;
  }

  #checkTarBytes(bytes: number): void {
    const { tar } = this.#request.limits;
    if (bytes > tar.bytes) throw errorOf(tar.failure);
  }

  #checkImageBytes(more: number): void {
    const { image } = this.#request.limits;
    if (this.#pass.imageBytes + more > image.bytes) throw errorOf(image.failure);
  }

  /** Comparing ends at the first byte that is not zero, so this costs nothing where there is data. */
  #countZeros(part: Buffer): void {
    for (let at = 0; at + zeroRun.length <= part.length; at += zeroRun.length) {
      if (zeroRun.equals(part.subarray(at, at + zeroRun.length))) this.#zeroBytes += zeroRun.length;
    }
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
}
