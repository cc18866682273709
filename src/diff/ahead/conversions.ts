import { rm } from 'node:fs/promises';
import type { ExpectedLayer } from '../../layers/index.js';
import type { Logger } from '../../log.js';
import type { Digest } from '../../vocabulary.js';
import type { ConversionRequest } from '../conversion.js';
import type { PreparedLayer } from '../convert.js';

/** How long a layer that was not asked for is kept, in milliseconds: the layers before it may still be on their way. */
export const keepMs = 10 * 60_000;
/** Layers under way or waiting to be asked for, at most: each takes disk space for what may never be wanted. */
const mostAhead = 4;

/** A bound on work of one kind. */
export class Turns {
  readonly #limit: number;
  #taken = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  get areLeft(): boolean {
    return this.#taken < this.#limit;
  }

  /** @returns gives the turn back; more than once does no harm */
  take(): () => void {
    let isTaken = true;
    this.#taken += 1;
    return () => {
      if (isTaken) this.#taken -= 1;
      isTaken = false;
    };
  }
}

/** One conversion that is to begin. */
export interface Launch {
  readonly turns: Turns;
  readonly layer: ExpectedLayer;
  readonly convert: (means: Pick<ConversionRequest, 'namespace' | 'temporary' | 'signal'>) => Promise<PreparedLayer>;
  /** Called once, when its room is for the next one. */
  readonly onRoom: () => void;
}

interface Ahead {
  /** Undefined when it failed: the call that asks for the layer then converts it, and is told why it cannot be. */
  readonly prepared: Promise<PreparedLayer | undefined>;
  readonly controller: AbortController;
  /** It is no longer under way ahead. */
  readonly release: () => void;
  /** The same, and its room is for the next one. */
  readonly handOver: () => void;
  /** Runs once it is prepared. */
  expiry?: NodeJS.Timeout;
}

/** Layers that were not asked for yet, under way or converted: bounded, and erased when they are not asked for in time. */
export class ConversionsAhead {
  readonly #log: Logger;
  readonly #layers = new Map<Digest, Ahead>();
  #closed = false;

  constructor(log: Logger) {
    this.#log = log;
  }

  has(digest: Digest): boolean {
    return this.#layers.has(digest);
  }

  get isClosed(): boolean {
    return this.#closed;
  }

  get hasRoom(): boolean {
    return !this.#closed && this.#layers.size < mostAhead;
  }

  launch(digest: Digest, { turns, layer, convert, onRoom }: Launch): void {
    const controller = new AbortController();
    const { namespace } = layer;
    const temporary = (purpose: string) => layer.temporary(purpose);
    const prepared = convert({ namespace, temporary, signal: controller.signal }).catch((error: unknown) => {
      this.#log.debug({ err: error, digest }, 'could not convert a layer ahead');
      return undefined;
    });
    const giveBack = turns.take();
    let isAhead = true;
    const release = () => {
      giveBack();
      isAhead = false;
    };
    const handOver = () => {
      if (!isAhead) return;
      release();
      onRoom();
    };
    const ahead: Ahead = { prepared, controller, release, handOver };
    this.#layers.set(digest, ahead);
    void prepared.then(() => {
      // A failed one is kept as well, or it would be tried again at once.
      if (this.#layers.get(digest) === ahead) {
        ahead.expiry = setTimeout(() => void this.#abandon(digest), keepMs).unref();
      }
      handOver();
    });
  }

  /** The layer when it is under way: waits for it. It is the caller's from then on. */
  async take(digest: Digest, signal: AbortSignal): Promise<PreparedLayer | undefined> {
    const ahead = this.#layers.get(digest);
    if (!ahead) return undefined;
    this.#forget(digest, ahead);
    const abort = () => ahead.controller.abort(signal.reason);
    if (signal.aborted) abort();
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await ahead.prepared;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /**
   * Gives up all of them.
   *
   * @returns whether there was any
   */
  async abandonAll(): Promise<boolean> {
    const digests = [...this.#layers.keys()];
    await Promise.all(digests.map((digest) => this.#abandon(digest)));
    return digests.length > 0;
  }

  /** Stops and erases everything, and has no room from now on. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.abandonAll();
  }

  async #abandon(digest: Digest): Promise<void> {
    const ahead = this.#layers.get(digest);
    if (!ahead) return;
    // Its room is not for the next one of the image: a requested conversion needs it.
    ahead.release();
    this.#forget(digest, ahead);
    ahead.controller.abort(new Error('this layer was not asked for'));
    const layer = await ahead.prepared;
    try {
      if (layer) await rm(layer.path, { force: true });
      this.#log.debug({ digest }, 'erased a layer that was converted ahead and not asked for');
    } catch (error) {
      this.#log.warn({ err: error, digest }, 'could not erase a layer that was converted ahead');
    }
  }

  #forget(digest: Digest, ahead: Ahead): void {
    this.#layers.delete(digest);
    clearTimeout(ahead.expiry);
    ahead.handOver();
  }
}
