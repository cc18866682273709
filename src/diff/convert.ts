import { constants } from 'node:fs';
import { copyFile, rm, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode, SnapshotterError } from '../errors.js';
import { tryMerging, verifyLayer, type Superblock } from '../erofs/index.js';
import { requireFreeBytes, syncFile } from '../host/index.js';
import type { Slots } from '../jobs.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Logger } from '../log.js';
import { withScope, type Scope } from '../scope.js';
import type { Descriptor, Digest } from '../vocabulary.js';
import { buildArriving, buildImage } from './build.js';
import { wrongDigest, type LocatedLayer } from './content-digest.js';
import { withDeadline } from './deadline.js';
import { Inspectors } from './thread/inspector.js';
import type { LayerFormat } from './media-types.js';

/** Where the bytes of a layer are; `size` is in bytes. */
export type LayerContent =
  | { readonly kind: 'file'; readonly path: string; readonly size: number }
  | { readonly kind: 'stream'; readonly stream: AsyncIterable<Uint8Array>; readonly size: number };

/** What converting needs of a content store. */
export interface LayerSource {
  open(descriptor: Descriptor, namespace: string | undefined, signal: AbortSignal): Promise<LayerContent>;
}

export interface ConverterOptions {
  readonly content: LayerSource;
  /** Bounds how many layers are converted at once. */
  readonly slots: Slots;
  /** Milliseconds that one layer may take once its turn has come. */
  readonly conversionTimeoutMs: number;
  /** Bytes that a layer's tar may have, at most; what fits on the disk bounds it in any case. */
  readonly maxLayerBytes: number;
  readonly log: Logger;
}

export interface ConvertRequest {
  readonly descriptor: Descriptor;
  readonly digest: Digest;
  /** What the image's configuration says of the layer's tar, if known. */
  readonly diffId?: Digest | undefined;
  readonly format: LayerFormat;
  readonly namespace?: string | undefined;
  /** An unused path on the filesystem where the layer will have its place. */
  readonly temporary: (purpose: string) => string;
  readonly signal: AbortSignal;
}

/** A layer that is still being fetched; it will have `descriptor.size` bytes. */
export interface ArrivingRequest extends ConvertRequest {
  /** Its owner closes it. */
  readonly file: FileHandle;
  readonly diffId: Digest;
  readonly format: Exclude<LayerFormat, 'erofs' | 'none'>;
}

/** A verified image under a temporary name, which its receiver publishes or removes. */
export interface PreparedLayer {
  readonly path: string;
  readonly layer: ConvertedLayer;
  /** Milliseconds of each stage, for the log. */
  readonly timings: Readonly<Record<'locateMs' | 'convertMs' | 'flushMs', number>>;
}

/** From a blob in the content store to a verified EROFS image under a temporary name. */
export class LayerConverter {
  readonly #options: ConverterOptions;
  readonly #inspectors = new Inspectors();

  constructor(options: ConverterOptions) {
    this.#options = options;
  }

  /** Whether a conversion would start at once. */
  get hasRoom(): boolean {
    return this.#options.slots.hasRoom;
  }

  /** Waits for its turn. A failed call leaves nothing behind. @throws what `LayerDiffer.apply` throws */
  convert(request: ConvertRequest): Promise<PreparedLayer> {
    return this.#inTurn(request, async (o, scope) => {
      const started = performance.now();
      const layer = await this.#locate(o, scope);
      const locateMs = since(started);
      if (o.format === 'erofs') {
        return this.#produce(o, locateMs, (output) => this.#take(o, layer, output, scope));
      }
      const { diffId: expectedDiffId, format: compression } = o;
      return this.#produce(o, locateMs, (output) =>
        buildImage({ layer, expectedDiffId, compression, ...this.#means(o, output, scope) }),
      );
    });
  }

  /**
   * Converts a layer while it is fetched, which takes no turn since it mostly waits. A failed call leaves nothing behind.
   *
   * @throws as `convert`, and what `buildArriving` throws
   */
  convertArriving(request: ArrivingRequest): Promise<PreparedLayer> {
    return withScope(this.#options.log, (scope) => {
      const { digest, descriptor, file, diffId: expectedDiffId, format: compression } = request;
      const o = { ...request, signal: this.#withDeadline(request, scope) };
      const layer = { file, size: descriptor.size, digest };
      return this.#produce(o, 0, (output) =>
        buildArriving({ layer, expectedDiffId, compression, ...this.#means(o, output, scope) }),
      );
    });
  }

  /** Ends the threads that read layers. What still runs fails. */
  async close(): Promise<void> {
    await this.#inspectors.close();
  }

  #inTurn(
    request: ConvertRequest,
    work: (request: ConvertRequest, scope: Scope) => Promise<PreparedLayer>,
  ): Promise<PreparedLayer> {
    const { slots, log } = this.#options;
    const timed = () =>
      withScope(log, (scope) => work({ ...request, signal: this.#withDeadline(request, scope) }, scope));
    return slots.run(timed, request.signal);
  }

  #withDeadline({ signal, digest }: ConvertRequest, scope: Scope): AbortSignal {
    return withDeadline(signal, this.#options.conversionTimeoutMs, `converting layer ${digest}`, scope);
  }

  /** What building an image needs besides the layer. */
  #means({ signal }: ConvertRequest, output: string, scope: Scope) {
    const { conversionTimeoutMs: deadlineMs, maxLayerBytes } = this.#options;
    return { output, inspector: this.#lendInspector(scope), maxLayerBytes, deadlineMs, signal };
  }

  /** Makes the image, and makes it last; on failure nothing of it stays. */
  async #produce(
    request: ConvertRequest,
    locateMs: number,
    make: (output: string) => Promise<ConvertedLayer>,
  ): Promise<PreparedLayer> {
    const path = request.temporary('layer.erofs');
    const started = performance.now();
    try {
      const layer = await make(path);
      const convertMs = since(started);
      // Here, and not only when it is published: a layer that is converted ahead then has nothing left to wait for.
      await syncFile(path);
      request.signal.throwIfAborted();
      return { path, layer, timings: { locateMs, convertMs, flushMs: since(started) - convertMs } };
    } catch (error) {
      if (isCode(error, 'data-loss'))
        this.#options.log.error({ err: error, layer: request.digest }, 'a layer is not used');
      await rm(path, { force: true });
      throw error;
    }
  }

  /** A layer that is an EROFS image already: verified, and copied as it is. Its diff ID is its digest. */
  async #take(
    request: ConvertRequest,
    { path, size }: LocatedLayer,
    output: string,
    scope: Scope,
  ): Promise<ConvertedLayer> {
    const { digest, signal } = request;
    await requireFreeBytes(dirname(output), size, `the image of layer ${digest}`);
    const inspected = this.#lendInspector(scope).inspect({ path });
    // Both are over before anything is thrown, or the copy would appear after it was cleaned up.
    const copied = copyFile(path, output, constants.COPYFILE_FICLONE);
    await Promise.allSettled([inspected, copied]);
    const [found] = await Promise.all([inspected, copied]);
    signal.throwIfAborted();
    if (found.digest !== digest) throw wrongDigest(digest, found.digest, path);
    const superblock = await this.#verifyForeign(request, output).catch((error: unknown) => {
      throw unusableImage(error, digest);
    });
    return { digest, diffId: digest, tarBytes: size, superblock };
  }

  /** Nothing about an image that others made is known before: its metadata is walked, and what the tool makes of it is tried. */
  async #verifyForeign({ temporary, signal }: ConvertRequest, image: string): Promise<Superblock> {
    const superblock = await verifyLayer(image);
    await tryMerging(image, temporary('trial'), { deadlineMs: this.#options.conversionTimeoutMs, signal });
    return superblock;
  }

  #lendInspector(scope: Scope) {
    const inspector = this.#inspectors.lend();
    scope.defer('the thread that reads the layer', () => this.#inspectors.giveBack(inspector));
    return inspector;
  }

  /** The content as a file: containerd's own, or a copy where that cannot be read. */
  async #locate(request: ConvertRequest, scope: Scope): Promise<LocatedLayer> {
    const { descriptor, digest, namespace, signal } = request;
    const content = await this.#options.content.open(descriptor, namespace, signal);
    if (content.kind === 'file') return { path: content.path, size: content.size, digest };
    const path = temporaryIn(scope, request, 'blob');
    await requireFreeBytes(dirname(path), content.size, `the content of layer ${digest}`);
    await writeFile(path, content.stream, { flag: 'wx', mode: 0o600, signal });
    return { path, size: content.size, digest };
  }
}

/** A path that is free again at the scope's end. */
function temporaryIn(scope: Scope, { temporary }: ConvertRequest, purpose: string): string {
  const path = temporary(purpose);
  scope.defer(path, () => rm(path, { force: true }));
  return path;
}

function since(start: number): number {
  return Math.round(performance.now() - start);
}

function unusableImage(error: unknown, digest: Digest): unknown {
  if (!isCode(error, 'data-loss')) return error;
  return new SnapshotterError('invalid-argument', `layer ${digest} is not a usable EROFS image: ${error.message}`, {
    facts: error.facts,
    next: 'build it with mkfs.erofs and blocks of 4096 bytes, in one file',
    cause: error,
  });
}
