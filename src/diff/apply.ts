import { rm } from 'node:fs/promises';
import { isCode, CodedError } from '../errors.js';
import { asCodedError } from '../host/index.js';
import { KeyLocks } from '../key-locks.js';
import type { ExpectedLayer, ExtractTarget, LayerTar } from '../layers/index.js';
import { isDigest, parseDigest, type Descriptor, type Digest } from '../vocabulary.js';
import { nothingAhead, type LayersAhead } from './ahead/layers-ahead.js';
import { Lookout, type ContentAhead } from './ahead/lookout.js';
import type { ConversionRequest } from './conversion.js';
import { LayerConverter, type ConverterOptions, type LayerSource, type PreparedLayer } from './convert.js';
import { layerFormatOf, uncompressedLabel, uncompressedMediaType } from './media-types.js';

/** What Apply needs of a content store. */
export type ContentPort = LayerSource & ContentAhead;

export interface LayerDifferOptions extends ConverterOptions {
  readonly content: ContentPort;
  /** How many layers that containerd has not asked for yet are converted at once; 0 for none. */
  readonly aheadAtOnce: number;
}

export interface ApplyOptions {
  readonly descriptor: Descriptor;
  readonly target: ExtractTarget;
  readonly namespace?: string;
  readonly signal: AbortSignal;
}

/** How a layer came to its snapshot: shared with one that is here, converted before it was asked for, or now, or taken as the image it is. */
type Route = 'held' | 'ahead' | PreparedLayer['route'];

/** Turns layers of images into EROFS images. */
export class LayerDiffer {
  readonly #options: LayerDifferOptions;
  readonly #converter: LayerConverter;
  readonly #ahead: LayersAhead;
  /** The layers that are applied at this moment. */
  readonly #applied = new Set<Digest>();
  /** The same layer in two pulls at once is converted by the first and shared by the second. */
  readonly #layers = new KeyLocks();

  constructor(options: LayerDifferOptions) {
    this.#options = options;
    const converter = (this.#converter = new LayerConverter(options));
    const { content, aheadAtOnce: atOnce, log } = options;
    const isApplied = (digest: Digest) => this.#applied.has(digest);
    this.#ahead = atOnce === 0 ? nothingAhead : new Lookout({ content, converter, atOnce, isApplied, log });
  }

  /**
   * Brings one layer into an extract snapshot, and answers the descriptor of its uncompressed tar, whose digest is the layer's
   * diff ID. A layer that this daemon holds already is not converted again. A failed call leaves nothing behind.
   *
   * @throws CodedError `not-mine` foreign media type, before anything is read or written; `invalid-argument` malformed
   *   content, or a tar larger than allowed; `data-loss` content that does not have its digest; `not-found` no such content;
   *   `failed-precondition` no means to read zstd; `resource-exhausted` disk full; `deadline-exceeded`, `cancelled`
   */
  async apply(o: ApplyOptions): Promise<Descriptor> {
    const format = layerFormatOf(o.descriptor.mediaType);
    const digest = parseDigest(o.descriptor.digest, "the layer's digest");
    const { descriptor, namespace, target, signal } = o;
    const temporary = (purpose: string) => target.temporary(purpose);
    try {
      return await this.#layers.run(digest, async () => {
        signal.throwIfAborted();
        const request = { descriptor, digest, format, namespace, temporary, signal };
        const { diffId, tarBytes: size } = await this.#bring(request, target);
        return { mediaType: format === 'erofs' ? descriptor.mediaType : uncompressedMediaType, digest: diffId, size };
      });
    } catch (error) {
      throw worded(error, digest, o);
    }
  }

  /** Says that containerd is about to fetch a layer for a snapshot, or has begun to. Returns at once. */
  expect(layer: ExpectedLayer): void {
    this.#ahead.expect(layer);
  }

  /** Erases what was converted ahead and ends the threads that read layers. What still runs fails. */
  async close(): Promise<void> {
    await this.#ahead.close();
    await this.#converter.close();
  }

  /** By the first route that leads there: the layer was converted ahead, or is held, or is converted now. */
  async #bring(request: ConversionRequest, target: ExtractTarget): Promise<LayerTar> {
    const { digest, signal } = request;
    this.#applied.add(digest);
    try {
      const ahead = await this.#ahead.take(digest, target.id, signal);
      if (ahead) return await this.#publish(ahead, 'ahead', request, target);
      const held = await this.#held(request, target);
      if (held) {
        this.#log('held', request, target, held);
        return held;
      }
      const converted = await this.#convertNow(request);
      return await this.#publish(converted, converted.route, request, target);
    } finally {
      this.#applied.delete(digest);
    }
  }

  /** By the digest of its blob, else by its diff ID: the same tar may be here from a blob that is compressed otherwise. */
  async #held({ digest, namespace, signal }: ConversionRequest, target: ExtractTarget): Promise<LayerTar | undefined> {
    const held = await target.adoptLayer(digest);
    if (held) return held;
    const { content } = this.#options;
    const diffId = target.diffId ?? (await content.info(digest, namespace, signal)).labels[uncompressedLabel];
    return diffId !== undefined && isDigest(diffId) ? target.adoptLayer(diffId) : undefined;
  }

  /** Requested conversions take precedence over speculative ones, in the slots and on the disk. */
  async #convertNow(request: ConversionRequest): Promise<PreparedLayer> {
    if (!this.#converter.hasRoom) await this.#ahead.yieldRoom();
    try {
      return await this.#converter.convert(request);
    } catch (error) {
      if (!isCode(error, 'resource-exhausted') || !(await this.#ahead.yieldRoom())) throw error;
      return this.#converter.convert(request);
    }
  }

  async #publish(
    { path, layer, timings }: PreparedLayer,
    route: Route,
    request: ConversionRequest,
    target: ExtractTarget,
  ): Promise<LayerTar> {
    const started = performance.now();
    try {
      request.signal.throwIfAborted();
      await target.publishLayer(path, layer);
    } finally {
      await rm(path, { force: true });
    }
    const publishMs = Math.round(performance.now() - started);
    this.#log(route, request, target, layer, { ...timings, publishMs });
    return layer;
  }

  #log(
    route: Route,
    { digest }: ConversionRequest,
    { id: snapshot }: ExtractTarget,
    { diffId, tarBytes }: LayerTar,
    timings: Readonly<Record<string, number>> = {},
  ): void {
    const facts = { route, digest, snapshot, diffId, tarBytes, ...timings };
    this.#options.log.info(facts, route === 'held' ? 'took over a layer that is here already' : 'converted a layer');
  }
}

function worded(error: unknown, digest: Digest, { signal, target }: ApplyOptions): CodedError {
  if (error instanceof CodedError) return error;
  const what = `converting layer ${digest}`;
  if (signal.aborted) return new CodedError('cancelled', `${what} was cancelled`, { cause: error });
  return asCodedError(error, what, target.temporary('layer.erofs'));
}
