import { rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode, SnapshotterError } from '../errors.js';
import { convertTar, layerUuid } from '../erofs/index.js';
import { asSnapshotterError, requireFreeBytes } from '../host/index.js';
import type { Slots } from '../jobs.js';
import { KeyLocks } from '../key-locks.js';
import type { ExtractTarget, LayerTar } from '../layers/index.js';
import type { Logger } from '../log.js';
import { withScope, type Scope } from '../scope.js';
import { isDigest, parseDigest, type Descriptor, type Digest } from '../vocabulary.js';
import { Inspectors } from './inspector.js';
import { compressionOf, uncompressedMediaType, type Compression } from './media-types.js';
import { unpack, type LocatedLayer } from './unpack.js';

/** Where the bytes of a layer are; `size` is in bytes. */
export type LayerContent =
  | { readonly kind: 'file'; readonly path: string; readonly size: number }
  | { readonly kind: 'stream'; readonly stream: AsyncIterable<Uint8Array>; readonly size: number };

/** What Apply needs of a content store. */
export interface ContentPort {
  info(
    digest: string,
    namespace: string | undefined,
    signal: AbortSignal,
  ): Promise<{ readonly labels: Readonly<Record<string, string>> }>;
  open(descriptor: Descriptor, namespace: string | undefined, signal: AbortSignal): Promise<LayerContent>;
}

export interface LayerDifferOptions {
  readonly content: ContentPort;
  /** Bounds how many layers are converted at once. */
  readonly slots: Slots;
  /** Milliseconds that one layer may take once its turn has come. */
  readonly conversionTimeoutMs: number;
  /** Bytes that a layer's tar may have, at most; what fits on the disk bounds it in any case. */
  readonly maxLayerBytes?: number;
  readonly log: Logger;
}

export interface ApplyOptions {
  readonly descriptor: Descriptor;
  readonly target: ExtractTarget;
  readonly namespace?: string | undefined;
  readonly signal: AbortSignal;
}

/** The label by which containerd remembers the diff ID of a blob that it has unpacked before. */
const uncompressedLabel = 'containerd.io/uncompressed';

/** 1 TiB: no image has such a layer, and a decompression bomb is stopped before the disk of a large host is full. */
const defaultMaxLayerBytes = 2 ** 40;

/** Turns layers of images into EROFS images. */
export class LayerDiffer {
  readonly #options: LayerDifferOptions;
  readonly #inspectors = new Inspectors();
  /** The same layer in two pulls at once is converted by the first and shared by the second. */
  readonly #layers = new KeyLocks();

  constructor(options: LayerDifferOptions) {
    this.#options = options;
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
    const compression = compressionOf(o.descriptor.mediaType);
    const digest = parseDigest(o.descriptor.digest, "the layer's digest");
    const { slots, log } = this.#options;
    try {
      return await this.#layers.run(digest, async () => {
        o.signal.throwIfAborted();
        const held = await this.#heldLayer(o, digest);
        if (held) {
          log.info({ digest, snapshot: o.target.id, ...held }, 'took over a layer that is here already');
          return uncompressed(held);
        }
        return await slots.run(() => withScope(log, (scope) => this.#convert(o, compression, digest, scope)), o.signal);
      });
    } catch (error) {
      throw this.#worded(error, digest, o);
    }
  }

  /** Ends the threads that read layers. What still runs fails. */
  async close(): Promise<void> {
    await this.#inspectors.close();
  }

  /** By the digest of its blob, else by its diff ID: the same tar may be here from a blob that is compressed otherwise. */
  async #heldLayer({ target, namespace, signal }: ApplyOptions, digest: Digest): Promise<LayerTar | undefined> {
    const held = await target.adoptLayer(digest);
    if (held) return held;
    const { content } = this.#options;
    const diffId = target.diffId ?? (await content.info(digest, namespace, signal)).labels[uncompressedLabel];
    return diffId !== undefined && isDigest(diffId) ? target.adoptLayer(diffId) : undefined;
  }

  /** locate → unpack → convert → verify → publish */
  async #convert(o: ApplyOptions, compression: Compression, digest: Digest, scope: Scope): Promise<Descriptor> {
    const started = performance.now();
    const { conversionTimeoutMs: deadlineMs, maxLayerBytes = defaultMaxLayerBytes, log } = this.#options;
    const signal = withDeadline(o.signal, deadlineMs, `converting layer ${digest}`, scope);
    const temporary = (purpose: string) => {
      const path = o.target.temporary(purpose);
      scope.defer(path, () => rm(path, { force: true }));
      return path;
    };
    const layer = await this.#locate(o, digest, signal, temporary);
    const inspector = this.#inspectors.lend();
    scope.defer('the thread that reads the layer', () => this.#inspectors.giveBack(inspector));
    const located = performance.now();
    const { tarPath, diff } = await unpack({
      layer,
      compression,
      temporaryTar: temporary('layer.tar'),
      inspector,
      maxLayerBytes,
      deadlineMs,
      signal,
    });
    const unpacked = performance.now();
    const output = temporary('layer.erofs');
    const image = convertTar({ tar: tarPath, output, uuid: layerUuid(digest), deadlineMs, signal });
    const [converted, taken] = await Promise.allSettled([image, diff.get()]);
    // A wrong digest explains a failed conversion, not the other way round.
    if (taken.status === 'rejected') throw taken.reason;
    if (converted.status === 'rejected') throw refusedTar(converted.reason, digest);
    const superblock = converted.value;
    signal.throwIfAborted();
    const made = performance.now();
    const tar: LayerTar = { diffId: taken.value.digest, tarBytes: taken.value.size };
    await o.target.publishLayer(output, { digest, superblock, ...tar });
    log.info(
      {
        digest,
        snapshot: o.target.id,
        ...tar,
        locateMs: Math.round(located - started),
        unpackMs: Math.round(unpacked - located),
        convertMs: Math.round(made - unpacked),
        publishMs: Math.round(performance.now() - made),
      },
      'converted a layer',
    );
    return uncompressed(tar);
  }

  /** The content as a file: containerd's own, or a copy where that cannot be read. */
  async #locate(
    { descriptor, namespace }: ApplyOptions,
    digest: Digest,
    signal: AbortSignal,
    temporary: (purpose: string) => string,
  ): Promise<LocatedLayer> {
    const content = await this.#options.content.open(descriptor, namespace, signal);
    if (content.kind === 'file') return { path: content.path, size: content.size, digest };
    const path = temporary('blob');
    await requireFreeBytes(dirname(path), content.size, `the content of layer ${digest}`);
    await writeFile(path, content.stream, { flag: 'wx', mode: 0o600, signal });
    return { path, size: content.size, digest };
  }

  #worded(error: unknown, digest: Digest, { signal, target }: ApplyOptions): SnapshotterError {
    if (error instanceof SnapshotterError) return error;
    const what = `converting layer ${digest}`;
    if (signal.aborted) return new SnapshotterError('cancelled', `${what} was cancelled`, { cause: error });
    return asSnapshotterError(error, what, target.temporary('layer.erofs'));
  }
}

function uncompressed({ diffId, tarBytes }: LayerTar): Descriptor {
  return { mediaType: uncompressedMediaType, digest: diffId, size: tarBytes };
}

/** Aborts when `signal` does, or with `deadline-exceeded` as its reason when the time is over. */
function withDeadline(signal: AbortSignal, deadlineMs: number, what: string, scope: Scope): AbortSignal {
  const deadline = new AbortController();
  const timer = setTimeout(() => {
    const message = `${what} did not end within ${deadlineMs / 1000} s`;
    deadline.abort(new SnapshotterError('deadline-exceeded', message, { facts: { deadlineMs } }));
  }, deadlineMs);
  scope.defer('the deadline', () => clearTimeout(timer));
  return AbortSignal.any([signal, deadline.signal]);
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
