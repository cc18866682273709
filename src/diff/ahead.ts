import { rm } from 'node:fs/promises';
import { isCode } from '../errors.js';
import { Slots } from '../jobs.js';
import type { ExtractTarget } from '../layers/index.js';
import type { Logger } from '../log.js';
import { isDigest, type Descriptor, type Digest } from '../vocabulary.js';
import type { LayerConverter, PreparedLayer } from './convert.js';
import { layerFormatOf, type LayerFormat } from './media-types.js';

/** How long a layer that nobody asked for is kept, in milliseconds: containerd asks for it next, or the pull has failed. */
const keepMs = 60_000;
/** Layers under way or waiting to be asked for, at most: each takes disk space that nobody may ever want. */
const mostAhead = 4;

/** What looking ahead needs of a content store. */
export interface ManifestSource {
  /** The layers that follow the one at `position` (from 0) in every image whose layer there is `digest`. */
  layersAfter(digest: Digest, position: number, namespace: string | undefined): Promise<readonly Descriptor[]>;
  info(digest: Digest, namespace: string | undefined, signal: AbortSignal): Promise<unknown>;
}

export interface LayersAheadOptions {
  readonly content: ManifestSource;
  readonly converter: LayerConverter;
  /** Conversions ahead at once; 0 switches it off. */
  readonly atOnce: number;
  readonly log: Logger;
}

/** The layer that containerd asked for just now: those after it in its image are next. */
export interface Present {
  readonly digest: Digest;
  readonly namespace: string | undefined;
  readonly target: ExtractTarget;
}

interface Ahead {
  /** Undefined when it failed: whoever asks for the layer then converts it, and hears why. */
  readonly prepared: Promise<PreparedLayer | undefined>;
  readonly controller: AbortController;
  /** Runs once it is prepared. */
  expiry?: NodeJS.Timeout;
}

/**
 * containerd 2.1 asks for one layer of an image after the other. This converts the next ones meanwhile, as soon as their blobs
 * are complete; what is not asked for soon is erased.
 */
export class LayersAhead {
  readonly #options: LayersAheadOptions;
  readonly #slots: Slots;
  readonly #layers = new Map<Digest, Ahead>();
  #closed = false;

  constructor(options: LayersAheadOptions) {
    this.#options = options;
    this.#slots = new Slots(options.atOnce);
  }

  /** Starts on the layers after this one. Returns at once: a pull must not wait for what may not be needed. */
  look(present: Present, busy: (digest: Digest) => boolean): void {
    if (this.#options.atOnce === 0) return;
    this.#look(present, busy).catch((error: unknown) => {
      this.#options.log.debug({ err: error, digest: present.digest }, 'could not look ahead in the image');
    });
  }

  /** The layer when it is under way: waits for it. It is the caller's from then on. */
  async take(digest: Digest, signal: AbortSignal): Promise<PreparedLayer | undefined> {
    const ahead = this.#layers.get(digest);
    if (!ahead) return undefined;
    this.#layers.delete(digest);
    clearTimeout(ahead.expiry);
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
    await Promise.all([...this.#layers.keys()].map((digest) => this.#abandon(digest)));
  }

  async #look(present: Present, busy: (digest: Digest) => boolean): Promise<void> {
    const { content } = this.#options;
    const { digest, namespace, target } = present;
    const next = await content.layersAfter(digest, await target.position(), namespace);
    const again = () => this.look(present, busy);
    for (const descriptor of next) {
      if (this.#closed || this.#layers.size >= mostAhead) return;
      const format = formatIfKnown(descriptor);
      if (!format || !isDigest(descriptor.digest)) continue;
      const known = this.#layers.has(descriptor.digest) || busy(descriptor.digest) || target.holds(descriptor.digest);
      if (known || !(await this.#isComplete(descriptor.digest, namespace))) continue;
      this.#start(descriptor.digest, { descriptor, format, namespace, target, again });
    }
  }

  async #isComplete(digest: Digest, namespace: string | undefined): Promise<boolean> {
    try {
      await this.#options.content.info(digest, namespace, AbortSignal.timeout(10_000));
      return true;
    } catch (error) {
      if (isCode(error, 'not-found')) return false;
      throw error;
    }
  }

  #start(
    digest: Digest,
    o: Omit<Present, 'digest'> & { descriptor: Descriptor; format: LayerFormat; again: () => void },
  ) {
    if (this.#closed || this.#layers.has(digest)) return;
    const { converter, log } = this.#options;
    const { descriptor, format, namespace, target } = o;
    const controller = new AbortController();
    const { signal } = controller;
    const temporary = (purpose: string) => target.aheadTemporary(purpose);
    const convert = () => converter.convert({ descriptor, digest, format, namespace, temporary, signal });
    const prepared = this.#slots.run(convert, signal).catch((error: unknown) => {
      log.debug({ err: error, digest }, 'could not convert a layer ahead');
      return undefined;
    });
    const ahead: Ahead = { prepared, controller };
    this.#layers.set(digest, ahead);
    void prepared.then(() => {
      // A failed one is kept as well, or it would be tried again at once.
      if (this.#layers.get(digest) === ahead) {
        ahead.expiry = setTimeout(() => void this.#abandon(digest), keepMs).unref();
      }
      o.again();
    });
  }

  async #abandon(digest: Digest): Promise<void> {
    const ahead = this.#layers.get(digest);
    if (!ahead) return;
    this.#layers.delete(digest);
    clearTimeout(ahead.expiry);
    ahead.controller.abort(new Error('nobody asked for this layer'));
    const layer = await ahead.prepared;
    if (layer) await rm(layer.path, { force: true });
    this.#options.log.debug({ digest }, 'erased a layer that was converted ahead and not asked for');
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
