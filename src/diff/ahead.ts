import { rm } from 'node:fs/promises';
import { isCode } from '../errors.js';
import type { ExtractTarget } from '../layers/index.js';
import type { Logger } from '../log.js';
import { isDigest, type Descriptor, type Digest } from '../vocabulary.js';
import type { LayerConverter, PreparedLayer } from './convert.js';
import { layerFormatOf, type LayerFormat } from './media-types.js';

/** How long a layer that nobody asked for is kept, in milliseconds: containerd asks for it next, or the pull has failed. */
const keepMs = 60_000;
/** Layers under way or waiting to be asked for, at most: each takes disk space that nobody may ever want. */
const mostAhead = 4;

/** How long containerd may take to say whether it has a blob, in milliseconds. */
const answerMs = 10_000;

/** A layer as its image names it; `diffId` when the image's configuration is here. */
interface NamedLayer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest | undefined;
}

/** What looking ahead needs of a content store. */
export interface ManifestSource {
  /** The layers that follow the one at `position` (from 0) in every image whose layer there is `digest`. */
  layersAfter(digest: Digest, position: number, namespace: string | undefined): Promise<readonly NamedLayer[]>;
  /** Rejects with `not-found` while the blob is not complete. */
  info(digest: Digest, namespace: string | undefined, signal: AbortSignal): Promise<unknown>;
  /** Yields each time that a blob has become complete, until the signal aborts. */
  completed(namespace: string | undefined, signal: AbortSignal): AsyncIterable<void>;
}

export interface LayersAheadOptions {
  readonly content: ManifestSource;
  readonly converter: LayerConverter;
  /** Conversions ahead at once; 0 switches it off. One that containerd has come to ask for is no longer ahead. */
  readonly atOnce: number;
  readonly log: Logger;
}

/** The layer that containerd asked for just now: those after it in its image are next. */
export interface Present {
  readonly digest: Digest;
  readonly namespace: string | undefined;
  readonly target: ExtractTarget;
  /** Whether a layer is applied at this moment. */
  readonly busy: (digest: Digest) => boolean;
}

interface Ahead {
  /** Undefined when it failed: whoever asks for the layer then converts it, and hears why. */
  readonly prepared: Promise<PreparedLayer | undefined>;
  readonly controller: AbortController;
  /** Makes room for the next one. */
  readonly handOver: () => void;
  /** Runs once it is prepared. */
  expiry?: NodeJS.Timeout;
}

/**
 * containerd 2.1 asks for one layer of an image after the other. This converts the next ones meanwhile, as soon as their blobs
 * are complete; what is not asked for soon is erased.
 */
export class LayersAhead {
  readonly #options: LayersAheadOptions;
  readonly #layers = new Map<Digest, Ahead>();
  /** Conversions that nobody has asked for yet. */
  #running = 0;
  /** Images with layers whose blobs are not complete, by the layer that containerd asked for. */
  readonly #waiting = new Map<Digest, Present>();
  #arrivals: AbortController | undefined;
  #closed = false;

  constructor(options: LayersAheadOptions) {
    this.#options = options;
  }

  /** Starts on the layers after this one. Returns at once: a pull must not wait for what may not be needed. */
  look(present: Present): void {
    if (this.#options.atOnce === 0 || this.#closed) return;
    this.#look(present).catch((error: unknown) => {
      this.#options.log.debug({ err: error, digest: present.digest }, 'could not look ahead in the image');
    });
  }

  /** The layer when it is under way: waits for it. It is the caller's from then on. */
  async take(digest: Digest, signal: AbortSignal): Promise<PreparedLayer | undefined> {
    const ahead = this.#layers.get(digest);
    if (!ahead) return undefined;
    this.#forget(digest, ahead);
    const abort = () => ahead.controller.abort(signal.reason);
    signal.addEventListener('abort', abort, { once: true });
    try {
      return await ahead.prepared;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** Stops and erases everything. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#arrivals?.abort();
    await Promise.all([...this.#layers.keys()].map((digest) => this.#abandon(digest)));
  }

  async #look(present: Present): Promise<void> {
    const { content, atOnce } = this.#options;
    const { digest, namespace, target, busy } = present;
    let incomplete = false;
    for (const layer of await content.layersAfter(digest, await target.position(), namespace)) {
      const { descriptor } = layer;
      if (this.#closed || this.#running >= atOnce || this.#layers.size >= mostAhead) return;
      const format = formatIfKnown(descriptor);
      if (!format || !isDigest(descriptor.digest)) continue;
      const known = () => this.#layers.has(descriptor.digest as Digest) || busy(descriptor.digest as Digest);
      if (known() || target.holds(descriptor.digest)) continue;
      const complete = await this.#isComplete(descriptor.digest, namespace);
      if (!complete) incomplete = true;
      else if (!known() && this.#running < atOnce) this.#start(layer, descriptor.digest, format, present);
    }
    if (incomplete) this.#await(present);
    else this.#waiting.delete(digest);
  }

  async #isComplete(digest: Digest, namespace: string | undefined): Promise<boolean> {
    try {
      await this.#options.content.info(digest, namespace, AbortSignal.timeout(answerMs));
      return true;
    } catch (error) {
      if (isCode(error, 'not-found')) return false;
      throw error;
    }
  }

  #start({ descriptor, diffId }: NamedLayer, digest: Digest, format: LayerFormat, present: Present): void {
    if (this.#closed) return;
    const { converter, log } = this.#options;
    const { namespace, target } = present;
    const controller = new AbortController();
    const { signal } = controller;
    const temporary = (purpose: string) => target.aheadTemporary(purpose);
    const prepared = converter
      .convert({ descriptor, digest, diffId, format, namespace, temporary, signal })
      .catch((error: unknown) => {
        log.debug({ err: error, digest }, 'could not convert a layer ahead');
        return undefined;
      });
    let counted = true;
    this.#running += 1;
    const handOver = () => {
      if (!counted) return;
      counted = false;
      this.#running -= 1;
      this.look(present);
    };
    const ahead: Ahead = { prepared, controller, handOver };
    this.#layers.set(digest, ahead);
    void prepared.then(() => {
      // A failed one is kept as well, or it would be tried again at once.
      if (this.#layers.get(digest) === ahead) {
        ahead.expiry = setTimeout(() => void this.#abandon(digest), keepMs).unref();
      }
      handOver();
    });
  }

  /** Looks again whenever a blob arrives, for as long as layers may be expected. */
  #await(present: Present): void {
    this.#waiting.set(present.digest, present);
    if (this.#arrivals || this.#closed) return;
    const arrivals = new AbortController();
    this.#arrivals = arrivals;
    const end = setTimeout(() => arrivals.abort(), keepMs).unref();
    this.#watch(present.namespace, arrivals.signal)
      .catch((error: unknown) => {
        if (!arrivals.signal.aborted) this.#options.log.debug({ err: error }, 'could not wait for blobs to arrive');
      })
      .finally(() => {
        clearTimeout(end);
        this.#waiting.clear();
        this.#arrivals = undefined;
      });
  }

  async #watch(namespace: string | undefined, signal: AbortSignal): Promise<void> {
    for await (const _arrival of this.#options.content.completed(namespace, signal)) {
      for (const present of this.#waiting.values()) this.look(present);
      if (this.#waiting.size === 0) return;
    }
  }

  async #abandon(digest: Digest): Promise<void> {
    const ahead = this.#layers.get(digest);
    if (!ahead) return;
    this.#forget(digest, ahead);
    ahead.controller.abort(new Error('nobody asked for this layer'));
    const layer = await ahead.prepared;
    if (layer) await rm(layer.path, { force: true });
    this.#options.log.debug({ digest }, 'erased a layer that was converted ahead and not asked for');
  }

  #forget(digest: Digest, ahead: Ahead): void {
    this.#layers.delete(digest);
    clearTimeout(ahead.expiry);
    ahead.handOver();
  }
}

/** What this differ does not convert, another one may: it is no reason to stop looking ahead. */
function formatIfKnown({ mediaType }: Descriptor): LayerFormat | undefined {
  try {
    return layerFormatOf(mediaType);
  } catch (error) {
    if (isCode(error, 'not-mine')) return undefined;
    throw error;
  }
}
