import { isCode, CodedError } from '../errors.js';
import type { Digest } from '../vocabulary.js';
import { orAborted } from '../waiting.js';
import type { Inspector } from './thread/inspector.js';

/** The layer as a file on this machine, its digest not yet checked. */
export interface LocatedLayer {
  readonly path: string;
  /** Bytes. */
  readonly size: number;
  /** What the content must hash to. */
  readonly digest: Digest;
}

/** Checks a layer's content against its digest: begun when first wanted, and then done once. */
export class ContentDigest {
  readonly #layer: LocatedLayer;
  readonly #inspector: Inspector;
  readonly #signal: AbortSignal;
  #checking: Promise<void> | undefined;

  constructor(layer: LocatedLayer, inspector: Inspector, signal: AbortSignal) {
    this.#layer = layer;
    this.#inspector = inspector;
    this.#signal = signal;
  }

  /** @throws CodedError `data-loss` when it has another one */
  check(): Promise<void> {
    return (this.#checking ??= this.#check());
  }

  /** Content that is not what its digest says explains whatever else is wrong with it. */
  async explaining<T>(work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (error) {
      if (isCode(error, 'invalid-argument')) await this.check();
      throw error;
    }
  }

  async #check(): Promise<void> {
    const { path, digest } = this.#layer;
    const reading = this.#inspector.inspect({ path });
    const found = await orAborted(reading, this.#signal);
    if (found.digest !== digest) throw wrongDigest(digest, found.digest, path);
  }
}

export function wrongDigest(expected: Digest, found: Digest | undefined, path: string): CodedError {
  return new CodedError('data-loss', `the layer's content has digest ${found}, and ${expected} was expected`, {
    facts: { expected, path, found },
    next: 'remove the image and pull it again',
  });
}
