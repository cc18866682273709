import { rm } from 'node:fs/promises';
import { isCode } from '../errors.js';
import type { ExtractTarget } from '../layers/index.js';
import type { Logger } from '../log.js';
import { isDigest, type Descriptor, type Digest } from '../vocabulary.js';
import type { LayerConverter, PreparedLayer } from './convert.js';
import { layerFormatOf, type LayerFormat } from './media-types.js';

/** How long a layer that nobody asked for is kept, in milliseconds: the layers before it may still be on their way. */
const keepMs = 10 * 60_000;
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

/** A layer that containerd asked for, and what is known of the image around it. */
interface Look {
  readonly present: Present;
  /** The layers after it, once the image is found. */
  next?: readonly NamedLayer[];
  running: boolean;
  /** Something changed while it ran. */
  again: boolean;
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
 * are complete; what is not asked for is erased.
 */
export class LayersAhead {
  readonly #options: LayersAheadOptions;
  readonly #layers = new Map<Digest, Ahead>();
  /** Conversions that nobody has asked for yet. */
  #running = 0;
  /** Images with layers whose blobs are not complete. */
  readonly #waiting = new Set<Look>();
  #arrivals: { readonly controller: AbortController; readonly end: NodeJS.Timeout } | undefined;
  #closed = false;

  constructor(options: LayersAheadOptions) {
    this.#options = options;
  }

  /** Starts on the layers after this one. Returns at once: a pull must not wait for what may not be needed. */
  look(present: Present): void {
    if (this.#options.atOnce > 0) this.#look({ present, running: false, again: false });
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
   * Gives up what nobody asked for, for work that somebody did ask for and that lacks room.
   *
   * @returns whether there was any
   */
  async yieldRoom(): Promise<boolean> {
    const digests = [...this.#layers.keys()];
    await Promise.all(digests.map((digest) => this.#abandon(digest)));
    return digests.length > 0;
  }

  /** Stops and erases everything. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#arrivals?.controller.abort();
    await this.yieldRoom();
  }

  get #hasRoom(): boolean {
    return !this.#closed && this.#running < this.#options.atOnce && this.#layers.size < mostAhead;
  }

  /** One pass at a time for each layer that was asked for, however often something happens. */
  #look(look: Look): void {
    look.again = true;
    if (look.running || !this.#hasRoom) return;
    look.running = true;
    this.#pass(look)
      .catch((error: unknown) => {
        this.#options.log.debug({ err: error, digest: look.present.digest }, 'could not look ahead in the image');
      })
      .finally(() => {
        look.running = false;
      });
  }

  async #pass(look: Look): Promise<void> {
    let incomplete = false;
    while (hasChanged(look)) incomplete = await this.#startWhatIsComplete(look);
    if (incomplete) this.#await(look);
    else this.#waiting.delete(look);
  }

  /** @returns whether a layer is wanted whose blob is not complete */
  async #startWhatIsComplete(look: Look): Promise<boolean> {
    const { present } = look;
    let incomplete = false;
    look.next ??= await this.#next(present);
    for (const layer of look.next ?? []) {
      const { digest } = layer.descriptor;
      if (!this.#hasRoom) break;
      if (!isDigest(digest) || !this.#isWanted(digest, present)) continue;
      if (!(await this.#isComplete(digest, present.namespace))) incomplete = true;
      else if (this.#isWanted(digest, present)) this.#start(layer, digest, look);
    }
    return incomplete;
  }

  /** Undefined while the image is not known. */
  async #next({ digest, namespace, target }: Present): Promise<readonly NamedLayer[] | undefined> {
    const next = await this.#options.content.layersAfter(digest, await target.position(), namespace);
    return next.length > 0 ? next : undefined;
  }

  #isWanted(digest: Digest, { busy, target }: Present): boolean {
    return !this.#layers.has(digest) && !busy(digest) && !target.holds(digest);
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

  #start({ descriptor, diffId }: NamedLayer, digest: Digest, look: Look): void {
    const format = formatIfKnown(descriptor);
    if (!format || !this.#hasRoom) return;
    const { converter, log } = this.#options;
    const { namespace, target } = look.present;
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
      this.#look(look);
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
  #await(look: Look): void {
    this.#waiting.add(look);
    if (this.#closed) return;
    if (this.#arrivals) {
      this.#arrivals.end.refresh();
      return;
    }
    const controller = new AbortController();
    const arrivals = { controller, end: setTimeout(() => controller.abort(), keepMs).unref() };
    this.#arrivals = arrivals;
    this.#watch(look.present.namespace, controller.signal)
      .catch((error: unknown) => {
        if (!controller.signal.aborted) this.#options.log.debug({ err: error }, 'could not wait for blobs to arrive');
      })
      .finally(() => {
        clearTimeout(arrivals.end);
        this.#waiting.clear();
        this.#arrivals = undefined;
      });
  }

  async #watch(namespace: string | undefined, signal: AbortSignal): Promise<void> {
    for await (const _arrival of this.#options.content.completed(namespace, signal)) {
      for (const look of this.#waiting) this.#look(look);
      if (this.#waiting.size === 0) return;
    }
  }

  async #abandon(digest: Digest): Promise<void> {
    const ahead = this.#layers.get(digest);
    if (!ahead) return;
    this.#forget(digest, ahead);
    ahead.controller.abort(new Error('nobody asked for this layer'));
    const layer = await ahead.prepared;
    try {
      if (layer) await rm(layer.path, { force: true });
      this.#options.log.debug({ digest }, 'erased a layer that was converted ahead and not asked for');
    } catch (error) {
      this.#options.log.warn({ err: error, digest }, 'could not erase a layer that was converted ahead');
    }
  }

  #forget(digest: Digest, ahead: Ahead): void {
    this.#layers.delete(digest);
    clearTimeout(ahead.expiry);
    ahead.handOver();
  }
}

/** Whether something has happened since this was last asked. */
function hasChanged(look: Look): boolean {
  const changed = look.again;
  look.again = false;
  return changed;
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
