import { isCode } from '../errors.js';
import type { ExtractTarget } from '../layers/index.js';
import type { Logger } from '../log.js';
import { isDigest, type Descriptor, type Digest } from '../vocabulary.js';
import { detectArriving } from './compression.js';
import { ConversionsAhead, keepMs, type Launch, type Turns } from './conversions-ahead.js';
import type { LayerConverter, PreparedLayer } from './convert.js';
import { Fetches, watchMs } from './fetches.js';
import type { ManifestSource, NamedLayer } from './manifest-source.js';
import { layerFormatOf, type LayerFormat } from './media-types.js';

/** How long containerd may take to say whether it has a blob, in milliseconds. */
const answerMs = 10_000;

export interface LayersAheadOptions {
  readonly content: ManifestSource;
  readonly converter: LayerConverter;
  /** Conversions of complete blobs ahead at once; 0 switches everything off. One that containerd has come to ask for is no longer ahead. */
  readonly atOnce: number;
  readonly log: Logger;
}

/** What containerd did just now: the layers that come after it in its image are next. */
export interface Present {
  /** The layer that it asked for. Undefined when it prepared a snapshot to unpack one: which image that is its fetches tell. */
  readonly digest: Digest | undefined;
  readonly namespace: string | undefined;
  readonly target: ExtractTarget;
  /** Whether a layer is applied at this moment. */
  readonly busy: (digest: Digest) => boolean;
}

/** What containerd did, and what is known of the image that it did it for. */
interface Look {
  present: Present;
  /** The layers that it will ask for, once the image is found. */
  next?: readonly NamedLayer[];
  running: boolean;
  /** Something changed while it ran. */
  again: boolean;
}

/** Smaller ones are converted before they could be followed. */
const leastFollowedBytes = 1024 * 1024;
/** How long nothing may be fetched after a snapshot was prepared for it, in milliseconds. */
const fetchMs = 10_000;

/**
 * containerd 2.1 asks for one layer of an image after the other. This converts layers while they are fetched, and the next ones
 * meanwhile, as soon as their blobs are complete; what is not asked for is erased.
 */
export class LayersAhead {
  readonly #options: LayersAheadOptions;
  readonly #layers: ConversionsAhead;
  /** Conversions of complete blobs that nobody has asked for yet. */
  readonly #conversions: Turns;
  /** One more at once, for they mostly wait for the network. */
  readonly #followings: Turns;
  /** Images with layers whose blobs are not complete, by what tells them apart. */
  readonly #waiting = new Map<string, Look>();
  readonly #fetches = new Fetches();
  #arrivals: { readonly controller: AbortController; readonly end: NodeJS.Timeout } | undefined;

  constructor(options: LayersAheadOptions) {
    this.#options = options;
    this.#layers = new ConversionsAhead(options.log);
    this.#conversions = { limit: options.atOnce, running: 0 };
    this.#followings = { limit: options.atOnce + 1, running: 0 };
  }

  /** Starts on the layers after this one. Returns at once: a pull must not wait for what may not be needed. */
  look(present: Present): void {
    if (this.#options.atOnce === 0) return;
    const unknown = this.#waiting.get(waitingKey({ present: { ...present, digest: undefined } }));
    // What it waited for has come: a fetch that begins from now on is somebody else's.
    if (unknown && present.digest !== undefined && unknown.present.target.id === present.target.id)
      this.#forgetLook(unknown);
    const look = present.digest === undefined ? unknown : undefined;
    if (look) look.present = present;
    this.#look(look ?? { present, running: false, again: false });
  }

  /** The layer when it is under way: waits for it. It is the caller's from then on. */
  take(digest: Digest, signal: AbortSignal): Promise<PreparedLayer | undefined> {
    return this.#layers.take(digest, signal);
  }

  /**
   * Gives up what nobody asked for, for work that somebody did ask for and that lacks room.
   *
   * @returns whether there was any
   */
  yieldRoom(): Promise<boolean> {
    return this.#layers.abandonAll();
  }

  /** Stops and erases everything. */
  async close(): Promise<void> {
    const closed = this.#layers.close();
    this.#arrivals?.controller.abort();
    await closed;
  }

  /** One pass at a time for each layer that was asked for, however often something happens. */
  #look(look: Look): void {
    look.again = true;
    if (look.running || !this.#layers.hasRoom) return;
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
    while (hasChanged(look)) {
      this.#forgetLook(look);
      incomplete = await this.#startWhatCanBe(look);
    }
    if (incomplete) this.#await(look);
  }

  /** @returns whether a layer may be wanted whose blob is not complete */
  async #startWhatCanBe(look: Look): Promise<boolean> {
    const { present } = look;
    look.next ??= await this.#next(present);
    if (!look.next) return true;
    let incomplete = false;
    for (const layer of look.next) {
      const { digest } = layer.descriptor;
      if (!this.#layers.hasRoom) return true;
      if (!isDigest(digest) || !this.#isWanted(digest, present)) continue;
      if (await this.#isComplete(digest, present.namespace)) this.#start(layer, digest, look);
      else {
        incomplete = true;
        await this.#follow(layer, digest, look);
      }
    }
    return incomplete;
  }

  /** Undefined while the image is not known. */
  async #next({ digest, namespace, target }: Present): Promise<readonly NamedLayer[] | undefined> {
    const { content } = this.#options;
    if (digest !== undefined) {
      const next = await content.layersAfter(digest, await target.position(), namespace);
      return next.length > 0 ? next : undefined;
    }
    for (const fetched of await content.downloads(namespace)) {
      if (this.#layers.has(fetched) || this.#isWaitedFor(fetched)) continue;
      const layers = await content.layersWith(fetched, namespace);
      if (layers.length > 0) return layers;
    }
    return undefined;
  }

  #isWaitedFor(digest: Digest): boolean {
    const looks = [...this.#waiting.values()];
    return looks.some(({ next }) => next?.some(({ descriptor }) => descriptor.digest === digest));
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
    this.#fetches.forget(digest);
    if (!format || !this.#mayStart(digest, look, this.#conversions)) return;
    this.#launch(digest, look, this.#conversions, (means) =>
      this.#options.converter.convert({ descriptor, digest, diffId, format, ...means }),
    );
  }

  /** Without a diff ID there would be no proof that what was read early is what the blob became. */
  async #follow({ descriptor, diffId }: NamedLayer, digest: Digest, look: Look): Promise<void> {
    const format = formatIfKnown(descriptor);
    if (!format || format === 'erofs' || diffId === undefined) return;
    if (descriptor.size < leastFollowedBytes || !this.#mayStart(digest, look, this.#followings)) return;
    const { content, converter } = this.#options;
    const file = await content.openDownload(digest, look.present.namespace);
    if (!file) return;
    const slow = this.#fetches.isSlow(digest, descriptor.size, (await file.stat()).size);
    if (!slow) this.#lookLater(look);
    const compression = slow ? await detectArriving(file, format) : undefined;
    const follows = compression !== undefined && compression !== 'none';
    if (!follows || !this.#mayStart(digest, look, this.#followings)) return file.close();
    this.#fetches.forget(digest);
    this.#launch(digest, look, this.#followings, (means) =>
      converter
        .convertArriving({ descriptor, digest, diffId, format: compression, file, ...means })
        .finally(() => file.close()),
    );
  }

  #lookLater(look: Look): void {
    const again = () => {
      if ([...this.#waiting.values()].includes(look)) this.#look(look);
    };
    setTimeout(again, watchMs).unref();
  }

  #mayStart(digest: Digest, { present }: Look, turns: Turns): boolean {
    return this.#layers.hasRoom && turns.running < turns.limit && this.#isWanted(digest, present);
  }

  #launch(digest: Digest, look: Look, turns: Turns, convert: Launch['convert']): void {
    const { namespace, target } = look.present;
    this.#layers.launch(digest, { turns, namespace, target, convert, onRoom: () => this.#look(look) });
  }

  /** Looks again whenever a blob arrives or begins to, for as long as layers may be expected. */
  #await(look: Look): void {
    if (this.#layers.isClosed) return;
    this.#waiting.set(waitingKey(look), look);
    if (!look.next) setTimeout(() => look.next ?? this.#forgetLook(look), fetchMs).unref();
    if (this.#arrivals) {
      this.#arrivals.end.refresh();
      return;
    }
    const controller = new AbortController();
    const arrivals = { controller, end: setTimeout(() => controller.abort(), keepMs).unref() };
    this.#arrivals = arrivals;
    void this.#watch(look.present.namespace, controller).finally(() => {
      clearTimeout(arrivals.end);
      this.#waiting.clear();
      this.#arrivals = undefined;
    });
  }

  async #watch(namespace: string | undefined, controller: AbortController): Promise<void> {
    const { content, log } = this.#options;
    const heed = async (happenings: AsyncIterable<void>) => {
      for await (const _happening of happenings) {
        for (const look of this.#waiting.values()) this.#look(look);
        if (this.#waiting.size === 0) controller.abort();
      }
    };
    const heard = [content.completed(namespace, controller.signal), content.begun(controller.signal)].map(
      (happenings) =>
        heed(happenings).catch((error: unknown) => {
          if (!controller.signal.aborted) log.debug({ err: error }, 'could not wait for blobs to arrive');
        }),
    );
    await Promise.all(heard);
  }

  #forgetLook(look: Look): void {
    const key = waitingKey(look);
    if (this.#waiting.get(key) === look) this.#waiting.delete(key);
  }
}

/** One look waits for an image, however many of its layers were asked for, and one in a namespace for an image not known yet. */
function waitingKey({ present, next }: Pick<Look, 'present' | 'next'>): string {
  return `${present.namespace ?? ''}/${next?.at(-1)?.descriptor.digest ?? present.digest ?? ''}`;
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
