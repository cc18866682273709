import { rm } from 'node:fs/promises';
import { SnapshotterError } from '../errors.js';
import { asSnapshotterError } from '../host/index.js';
import { KeyLocks } from '../key-locks.js';
import type { ExtractTarget, LayerTar } from '../layers/index.js';
import { isDigest, parseDigest, type Descriptor, type Digest } from '../vocabulary.js';
import { LayerConverter, type ConverterOptions, type LayerSource } from './convert.js';
import { layerFormatOf, uncompressedMediaType, type LayerFormat } from './media-types.js';

/** What Apply needs of a content store. */
export interface ContentPort extends LayerSource {
  info(
    digest: string,
    namespace: string | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly labels: Readonly<Record<string, string>> }>;
}

export interface LayerDifferOptions extends ConverterOptions {
  readonly content: ContentPort;
}

export interface ApplyOptions {
  readonly descriptor: Descriptor;
  readonly target: ExtractTarget;
  readonly namespace?: string | undefined;
  readonly signal: AbortSignal;
}

/** The label by which containerd remembers the diff ID of a blob that it has unpacked before. */
const uncompressedLabel = 'containerd.io/uncompressed';

/** Turns layers of images into EROFS images. */
export class LayerDiffer {
  readonly #options: LayerDifferOptions;
  readonly #converter: LayerConverter;
  /** The same layer in two pulls at once is converted by the first and shared by the second. */
  readonly #layers = new KeyLocks();

  constructor(options: LayerDifferOptions) {
    this.#options = options;
    this.#converter = new LayerConverter(options);
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
        const tar = (await this.#heldLayer(o, digest)) ?? (await this.#convert(o, format, digest));
        const mediaType = format === 'erofs' ? o.descriptor.mediaType : uncompressedMediaType;
        return { mediaType, digest: tar.diffId, size: tar.tarBytes };
      });
    } catch (error) {
      throw this.#worded(error, digest, o);
    }
  }

  /** Ends the threads that read layers. What still runs fails. */
  close(): Promise<void> {
    return this.#converter.close();
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
    const prepared = await this.#converter.convert({ descriptor, digest, format, namespace, temporary, signal });
    const { diffId, tarBytes } = prepared.layer;
    const started = performance.now();
    try {
      await target.publishLayer(prepared.path, prepared.layer);
    } finally {
      await rm(prepared.path, { force: true });
    }
    const publishMs = Math.round(performance.now() - started);
    const facts = { digest, snapshot: target.id, diffId, tarBytes, ...prepared.timings, publishMs };
    this.#options.log.info(facts, 'converted a layer');
    return { diffId, tarBytes };
  }

  #worded(error: unknown, digest: Digest, { signal, target }: ApplyOptions): SnapshotterError {
    if (error instanceof SnapshotterError) return error;
    const what = `converting layer ${digest}`;
    if (signal.aborted) return new SnapshotterError('cancelled', `${what} was cancelled`, { cause: error });
    return asSnapshotterError(error, what, target.temporary('layer.erofs'));
  }
}
