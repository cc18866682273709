import { constants } from 'node:fs';
import { copyFile, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode, SnapshotterError } from '../errors.js';
import { convertTar, layerUuid, verifyLayer } from '../erofs/index.js';
import { requireFreeBytes, syncFile } from '../host/index.js';
import type { Slots } from '../jobs.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Logger } from '../log.js';
import { withScope, type Scope } from '../scope.js';
import type { Descriptor, Digest } from '../vocabulary.js';
import { withDeadline } from './deadline.js';
import { Inspectors } from './inspector.js';
import type { LayerFormat } from './media-types.js';
import { unpack, wrongDigest, type LocatedLayer } from './unpack.js';

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

/** A verified image under a temporary name, which its receiver publishes or removes. */
export interface PreparedLayer {
  readonly path: string;
  readonly layer: ConvertedLayer;
  /** Milliseconds of each stage, for the log. */
  readonly timings: Readonly<Record<'locateMs' | 'unpackMs' | 'convertMs', number>>;
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
    const { slots, log, conversionTimeoutMs } = this.#options;
    const work = () =>
      withScope(log, (scope) => {
        const what = `converting layer ${request.digest}`;
        const signal = withDeadline(request.signal, conversionTimeoutMs, what, scope);
        return this.#convert({ ...request, signal }, scope);
      });
    return slots.run(work, request.signal);
  }

  /** Ends the threads that read layers. What still runs fails. */
  async close(): Promise<void> {
    await this.#inspectors.close();
  }

  /** locate → unpack → convert → verify */
  async #convert(request: ConvertRequest, scope: Scope): Promise<PreparedLayer> {
    const temporary = (purpose: string) => {
      const path = request.temporary(purpose);
      scope.defer(path, () => rm(path, { force: true }));
      return path;
    };
    const started = performance.now();
    const located = await this.#locate(request, temporary);
    const locateMs = since(started);
    const output = request.temporary('layer.erofs');
    try {
      const made =
        request.format === 'erofs'
          ? await this.#take(request, located, output, scope)
          : await this.#make({ ...request, format: request.format }, located, output, temporary, scope);
      // Here, and not only when it is published: a layer that is converted ahead then has nothing left to wait for.
      await syncFile(output);
      request.signal.throwIfAborted();
      return { path: output, layer: made.layer, timings: { locateMs, ...made.timings } };
    } catch (error) {
      await rm(output, { force: true });
      throw error;
    }
  }

  async #make(
    request: ConvertRequest & { readonly format: Exclude<LayerFormat, 'erofs'> },
    located: LocatedLayer,
    output: string,
    temporary: (purpose: string) => string,
    scope: Scope,
  ) {
    const { digest, diffId: expectedDiffId, format: compression, signal } = request;
    const { conversionTimeoutMs: deadlineMs, maxLayerBytes } = this.#options;
    const started = performance.now();
    const inspector = this.#lendInspector(scope);
    const temporaryTar = temporary('layer.tar');
    const tar = await unpack({
      layer: located,
      expectedDiffId,
      compression,
      temporaryTar,
      inspector,
      maxLayerBytes,
      deadlineMs,
      signal,
    });
    const unpackMs = since(started);
    const unpacked = performance.now();
    const image = convertTar({
      tar: tar.tarPath,
      implied: tar.implied,
      output,
      uuid: layerUuid(digest),
      deadlineMs,
      signal,
    });
    const [converted, taken] = await Promise.allSettled([image, tar.diff.get()]);
    // A wrong digest explains a failed conversion, not the other way round.
    if (taken.status === 'rejected') throw taken.reason;
    if (converted.status === 'rejected') throw refusedTar(converted.reason, digest);
    const { digest: diffId, size: tarBytes } = taken.value;
    const layer: ConvertedLayer = { digest, diffId, tarBytes, superblock: converted.value };
    return { layer, timings: { unpackMs, convertMs: since(unpacked) } };
  }

  /** A layer that is an EROFS image already: verified, and copied as it is. Its diff ID is its digest. */
  async #take({ digest, signal }: ConvertRequest, { path, size }: LocatedLayer, output: string, scope: Scope) {
    const started = performance.now();
    await requireFreeBytes(dirname(output), size, `the image of layer ${digest}`);
    const inspected = this.#lendInspector(scope).inspect({ path, digest: true, tar: false }).finish();
    // Both are over before anything is thrown, or the copy would appear after it was cleaned up.
    const copied = copyFile(path, output, constants.COPYFILE_FICLONE);
    await Promise.allSettled([inspected, copied]);
    const [found] = await Promise.all([inspected, copied]);
    const unpackMs = since(started);
    signal.throwIfAborted();
    if (found.digest !== digest) throw wrongDigest(digest, found.digest, path);
    const superblock = await verifyLayer(output).catch((error: unknown) => {
      throw unusableImage(error, digest);
    });
    const layer: ConvertedLayer = { digest, diffId: digest, tarBytes: size, superblock };
    return { layer, timings: { unpackMs, convertMs: 0 } };
  }

  #lendInspector(scope: Scope) {
    const inspector = this.#inspectors.lend();
    scope.defer('the thread that reads the layer', () => this.#inspectors.giveBack(inspector));
    return inspector;
  }

  /** The content as a file: containerd's own, or a copy where that cannot be read. */
  async #locate(
    { descriptor, digest, namespace, signal }: ConvertRequest,
    temporary: (purpose: string) => string,
  ): Promise<LocatedLayer> {
    const content = await this.#options.content.open(descriptor, namespace, signal);
    if (content.kind === 'file') return { path: content.path, size: content.size, digest };
    const path = temporary('blob');
    await requireFreeBytes(dirname(path), content.size, `the content of layer ${digest}`);
    await writeFile(path, content.stream, { flag: 'wx', mode: 0o600, signal });
    return { path, size: content.size, digest };
  }
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

/**
 * What mkfs.erofs says of a tar that is well formed but describes no tree: a hard link to nothing (2, ENOENT), a name below a file
 * (20, ENOTDIR), a hard link to a folder (21, EISDIR). Its words are those of 1.8 and 1.9.
 */
const complaint = /\[Error (2|20|21)\]/;

function refusedTar(error: unknown, digest: Digest): unknown {
  if (!isCode(error, 'internal') || error.facts['exitCode'] === undefined) return error;
  if (!complaint.test(String(error.facts['stderr'] ?? ''))) return error;
  return new SnapshotterError('invalid-argument', `the tar of layer ${digest} describes no tree: ${error.message}`, {
    facts: error.facts,
    next: 'look for a hard link to a missing file, or a name below something that is no folder, and build the image again',
    cause: error,
  });
}
