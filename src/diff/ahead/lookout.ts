import type { Content, ManifestLayer } from '../../containerd/index.js';
import { isCode } from '../../errors.js';
import type { ExpectedLayer } from '../../layers/index.js';
import type { Logger } from '../../log.js';
import { isDigest, type Descriptor, type Digest, type Labels } from '../../vocabulary.js';
import { detectArriving } from '../compression.js';
import type { LayerConverter, PreparedLayer } from '../convert.js';
import { layerFormatOf, type LayerFormat } from '../media-types.js';
import { ConversionsAhead, keepMs, Turns, type Launch } from './conversions.js';
import { Fetches, watchMs } from './fetches.js';
import type { LayersAhead } from './layers-ahead.js';

/** How long containerd may take to say whether it has a blob, in milliseconds. */
const answerMs = 10_000;

/** What looking ahead needs of containerd's content store. */
export type ContentAhead = Pick<
  Content,
  'layersAfter' | 'layersWith' | 'completed' | 'downloads' | 'openDownload' | 'begun'
> & {
  /** Rejects with `not-found` while the blob is not complete. */
  info(...blob: Parameters<Content['info']>): Promise<{ readonly labels: Labels }>;
};

interface LookoutOptions {
  readonly content: ContentAhead;
  readonly converter: LayerConverter;
  /** Conversions of complete blobs ahead at once. One that containerd has come to ask for is no longer ahead. */
  readonly atOnce: number;
  /** Whether a layer is applied at this moment. */
  readonly isApplied: (digest: Digest) => boolean;
  readonly log: Logger;
}

/** What containerd did just now: the layers that come after it in its image are next. */
interface Present {
  /** The layer that it asked for. Undefined when it prepared a snapshot to unpack one: which image that is its fetches tell. */
  readonly digest: Digest | undefined;
  readonly layer: ExpectedLayer;
}

/** What containerd did, and what is known of the image that it did it for. */
interface Look {
  present: Present;
  /** The layers that it will ask for, once the image is found. */
  next?: readonly ManifestLayer[];
  running: boolean;
  /** Something changed while it ran. */
  again: boolean;
}

/** Smaller ones are converted before they could be followed. */
const leastFollowedBytes = 1024 * 1024;
/** How long nothing may be fetched after a snapshot was prepared for it, in milliseconds. */
const fetchMs = 10_000;

/** Expected layers whose Apply has not come, at most: snapshots can be prepared and removed again without one. */
const mostExpected = 256;

/** Watches what containerd fetches and asks for, and converts what comes next in the image; what is not asked for is erased. */
export class Lookout implements LayersAhead {
  readonly #options: LookoutOptions;
  readonly #layers: ConversionsAhead;
  /** Of complete blobs that were not asked for yet. */
  readonly #conversions: Turns;
  /** One more at once, for they mostly wait for the network. */
  readonly #followings: Turns;
  /** By the snapshot that takes the layer, those that were prepared last at the end. */
  readonly #expected = new Map<number, ExpectedLayer>();
  /** Images with layers whose blobs are not complete, by what tells them apart. */
  readonly #waiting = new Map<string, Look>();
  readonly #fetches = new Fetches();
  #arrivals: { readonly controller: AbortController; readonly end: NodeJS.Timeout } | undefined;

  constructor(options: LookoutOptions) {
    this.#options = options;
    this.#layers = new ConversionsAhead(options.log);
    this.#conversions = new Turns(options.atOnce);
    this.#followings = new Turns(options.atOnce + 1);
  }

  expect(layer: ExpectedLayer): void {
    this.#expected.set(layer.snapshot, layer);
    for (const oldest of this.#expected.keys()) {
      if (this.#expected.size <= mostExpected) break;
      this.#expected.delete(oldest);
    }
    const present = { digest: undefined, layer };
    const look = this.#waiting.get(waitingKey({ present }));
    if (look) look.present = present;
    this.#look(look ?? { present, running: false, again: false });
  }

  take(digest: Digest, snapshot: number, signal: AbortSignal): Promise<PreparedLayer | undefined> {
    const layer = this.#expected.get(snapshot);
    this.#expected.delete(snapshot);
    if (layer) {
      const look = this.#waiting.get(waitingKey({ present: { digest: undefined, layer } }));
      // What it waited for has come: a fetch that begins from now on belongs to another pull.
      if (look?.present.layer.snapshot === snapshot) this.#forgetLook(look);
      this.#look({ present: { digest, layer }, running: false, again: false });
    }
    return this.#layers.take(digest, signal);
  }

  yieldRoom(): Promise<boolean> {
    return this.#layers.abandonAll();
  }

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
      if (await this.#isComplete(digest, present.layer.namespace)) this.#start(layer, digest, look);
      else {
        incomplete = true;
        await this.#follow(layer, digest, look);
      }
    }
    return incomplete;
  }

  /** Undefined while the image is not known. */
  async #next({ digest, layer }: Present): Promise<readonly ManifestLayer[] | undefined> {
    const { content } = this.#options;
    const { namespace } = layer;
    if (digest !== undefined) {
      const next = await content.layersAfter(digest, await layer.position(), namespace);
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

  #isWanted(digest: Digest, { layer }: Present): boolean {
    return !this.#layers.has(digest) && !this.#options.isApplied(digest) && !layer.holds(digest);
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

  #start({ descriptor, diffId }: ManifestLayer, digest: Digest, look: Look): void {
    const format = formatIfKnown(descriptor);
    this.#fetches.forget(digest);
    if (!format || !this.#mayStart(digest, look, this.#conversions)) return;
    this.#launch(digest, look, this.#conversions, (means) =>
      this.#options.converter.convert({ descriptor, digest, diffId, format, ...means }),
    );
  }

  /** Without a diff ID there would be no proof that what was read early is what the blob became. */
  async #follow({ descriptor, diffId }: ManifestLayer, digest: Digest, look: Look): Promise<void> {
    const format = formatIfKnown(descriptor);
    if (!format || format === 'erofs' || diffId === undefined) return;
    if (descriptor.size < leastFollowedBytes || !this.#mayStart(digest, look, this.#followings)) return;
    const { content, converter } = this.#options;
    const file = await content.openDownload(digest, look.present.layer.namespace);
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
    return this.#layers.hasRoom && turns.areLeft && this.#isWanted(digest, present);
  }

  #launch(digest: Digest, look: Look, turns: Turns, convert: Launch['convert']): void {
    const { layer } = look.present;
    this.#layers.launch(digest, { turns, layer, convert, onRoom: () => this.#look(look) });
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
    void this.#watch(look.present.layer.namespace, controller).finally(() => {
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
  return `${present.layer.namespace ?? ''}/${next?.at(-1)?.descriptor.digest ?? present.digest ?? ''}`;
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
