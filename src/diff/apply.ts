import { rm } from 'node:fs/promises';
import { isCode, SnapshotterError } from '../errors.js';
import { asSnapshotterError } from '../host/index.js';
import { KeyLocks } from '../key-locks.js';
import type { ExtractTarget, LayerTar } from '../layers/index.js';
import { isDigest, parseDigest, type Descriptor, type Digest } from '../vocabulary.js';
import { LayersAhead } from './ahead.js';
import {
  LayerConverter,
  type ConverterOptions,
  type ConvertRequest,
  type LayerSource,
  type PreparedLayer,
} from './convert.js';
import type { ManifestSource } from './manifest-source.js';
import { layerFormatOf, uncompressedLabel, uncompressedMediaType, type LayerFormat } from './media-types.js';

/** What Apply needs of a content store. */
export interface ContentPort extends LayerSource, ManifestSource {
  info(
    digest: Digest,
    namespace: string | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly labels: Readonly<Record<string, string>> }>;
}

export interface LayerDifferOptions extends ConverterOptions {
  readonly content: ContentPort;
  /** How many layers that containerd has not asked for yet are converted at once; 0 for none. */
  readonly aheadAtOnce: number;
}

export interface ApplyOptions {
  readonly descriptor: Descriptor;
  readonly target: ExtractTarget;
  readonly namespace?: string | undefined;
  readonly signal: AbortSignal;
}

/** Turns layers of images into EROFS images. */
export class LayerDiffer {
  readonly #options: LayerDifferOptions;
  readonly #converter: LayerConverter;
  readonly #ahead: LayersAhead;
  /** The layers that are applied at this moment. */
  readonly #busy = new Set<Digest>();
  /** The same layer in two pulls at once is converted by the first and shared by the second. */
  readonly #layers = new KeyLocks();

  constructor(options: LayerDifferOptions) {
    this.#options = options;
    this.#converter = new LayerConverter(options);
    const { content, aheadAtOnce: atOnce, log } = options;
    this.#ahead = new LayersAhead({ content, converter: this.#converter, atOnce, log });
  }

  /**
   * Converts one layer into the image of an extract snapshot, and answers the descriptor of its uncompressed tar, whose digest
   * is the layer's diff ID. A layer that this daemon holds already is not converted again. A failed call leaves nothing behind.
   *
   * @throws SnapshotterError `not-mine` foreign media type, before anything is read or written; `invalid-argument` malformed
   *   content, or a tar larger than allowed; `data-loss` content that does not have its digest; `not-found` no such content;
   *   `failed-precondition` no means to read zstd; `resource-exhausted` disk full; `deadline-exceeded`, `cancelled`
   */
  async apply(o: ApplyOptions): Promise<Descriptor> {
    const format = layerFormatOf(o.descriptor.mediaType);
    const digest = parseDigest(o.descriptor.digest, "the layer's digest");
    try {
      return await this.#layers.run(digest, async () => {
        o.signal.throwIfAborted();
        const tar = await this.#present(o, format, digest);
        const mediaType = format === 'erofs' ? o.descriptor.mediaType : uncompressedMediaType;
        return { mediaType, digest: tar.diffId, size: tar.tarBytes };
      });
    } catch (error) {
      throw this.#worded(error, digest, o);
    }
  }

  /** Says that containerd is about to fetch a layer for this snapshot, or has begun to. Returns at once. */
  expect({ target, namespace }: Pick<ApplyOptions, 'target' | 'namespace'>): void {
    this.#ahead.look({ digest: undefined, namespace, target, busy: (digest) => this.#busy.has(digest) });
  }

  /** Erases what was converted ahead and ends the threads that read layers. What still runs fails. */
  async close(): Promise<void> {
    await this.#ahead.close();
    await this.#converter.close();
  }

  async #present(o: ApplyOptions, format: LayerFormat, digest: Digest): Promise<LayerTar> {
    this.#busy.add(digest);
    try {
      const busy = (next: Digest) => this.#busy.has(next);
      this.#ahead.look({ digest, namespace: o.namespace, target: o.target, busy });
      return (await this.#heldLayer(o, digest)) ?? (await this.#convert(o, format, digest));
    } finally {
      this.#busy.delete(digest);
    }
  }

  /** By the digest of its blob, else by its diff ID: the same tar may be here from a blob that is compressed otherwise. */
  async #heldLayer({ target, namespace, signal }: ApplyOptions, digest: Digest): Promise<LayerTar | undefined> {
    const { content, log } = this.#options;
    let held = await target.adoptLayer(digest);
    if (!held) {
      const diffId = target.diffId ?? (await content.info(digest, namespace, signal)).labels[uncompressedLabel];
      if (diffId !== undefined && isDigest(diffId)) held = await target.adoptLayer(diffId);
    }
    if (held) log.info({ digest, snapshot: target.id, ...held }, 'took over a layer that is here already');
    return held;
  }

  async #convert(o: ApplyOptions, format: LayerFormat, digest: Digest): Promise<LayerTar> {
    const { descriptor, namespace, target, signal } = o;
    const temporary = (purpose: string) => target.temporary(purpose);
    const ahead = await this.#ahead.take(digest, signal);
    const request = { descriptor, digest, format, namespace, temporary, signal };
    const prepared = ahead ?? (await this.#convertNow(request));
    const { diffId, tarBytes } = prepared.layer;
    const started = performance.now();
    try {
      signal.throwIfAborted();
      await target.publishLayer(prepared.path, prepared.layer);
    } finally {
      await rm(prepared.path, { force: true });
    }
    const publishMs = Math.round(performance.now() - started);
    const facts = {
      digest,
      snapshot: target.id,
      diffId,
      tarBytes,
      ...prepared.timings,
      publishMs,
      ahead: ahead !== undefined,
    };
    this.#options.log.info(facts, 'converted a layer');
    return { diffId, tarBytes };
  }

  /** What was asked for goes before what was not, in the slots and on the disk. */
  async #convertNow(request: ConvertRequest): Promise<PreparedLayer> {
    if (!this.#converter.hasRoom) await this.#ahead.yieldRoom();
    try {
      return await this.#converter.convert(request);
    } catch (error) {
      if (!isCode(error, 'resource-exhausted') || !(await this.#ahead.yieldRoom())) throw error;
      return this.#converter.convert(request);
    }
  }

  #worded(error: unknown, digest: Digest, { signal, target }: ApplyOptions): SnapshotterError {
    if (error instanceof SnapshotterError) return error;
    const what = `converting layer ${digest}`;
    if (signal.aborted) return new SnapshotterError('cancelled', `${what} was cancelled`, { cause: error });
    return asSnapshotterError(error, what, target.temporary('layer.erofs'));
  }
}
