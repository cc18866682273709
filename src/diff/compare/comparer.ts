import { createHash } from 'node:crypto';
import type { ContentWriter } from '../../containerd/index.js';
import { errnoOf, CodedError } from '../../errors.js';
import { asCodedError } from '../../host/index.js';
import { Slots } from '../../jobs.js';
import type { CompareSides } from '../../layers/index.js';
import type { Logger } from '../../log.js';
import { withScope } from '../../scope.js';
import { quiescedLabel, type Descriptor, type Digest, type Labels } from '../../vocabulary.js';
import { withDeadline } from '../../waiting.js';
import { uncompressedLabel, type Compression } from '../media-types.js';
import type { Changes } from './changes.js';
import { compressed, type Bytes } from './compress.js';
import { layerTar } from './layer-tar.js';
import { seenAs, type SeenAs } from './node.js';
import { writtenMediaType } from './media-type.js';
import { changesBetween } from './trees.js';
import { changesOfUpper, UpperIsNotEnough } from './upper.js';

export interface LayerComparerOptions {
  /** Takes a blob whose digest is known only at its end, and keeps it. */
  readonly blobs: Pick<ContentWriter, 'write'>;
  /** Bounds how many layers are made at once, together with conversions. */
  readonly slots: Slots;
  /** Milliseconds that one Diff may take once its turn has come. */
  readonly timeoutMs: number;
  readonly log: Logger;
}

export interface CompareOptions {
  /** Resolved only when the media type is ours. */
  readonly sides: () => Promise<CompareSides>;
  readonly mediaType: string;
  /** Name of the upload; empty for one of its own. */
  readonly ref: string;
  readonly labels: Labels;
  /** Nanoseconds since the epoch. */
  readonly sourceDateEpoch: bigint | undefined;
  readonly namespace: string;
  readonly lease: string | undefined;
  readonly signal: AbortSignal;
}

interface Written {
  readonly changes: Changes;
  readonly seenAs: SeenAs;
  readonly mostHoleBytes: number | undefined;
  readonly route: 'upper' | 'trees';
}

/** How many Diffs have something mounted, and their snapshots locked, at once: reading or waiting for a slot. */
const comparisonsAtOnce = 4;

/** Makes layers of what changed between two snapshots, and puts them into containerd's content store. */
export class LayerComparer {
  readonly #options: LayerComparerOptions;
  /** Not the slots themselves: a Commit waits for one of them while it has its snapshot's key, for which a Diff waits. */
  readonly #turns = new Slots(comparisonsAtOnce);

  constructor(options: LayerComparerOptions) {
    this.#options = options;
  }

  /**
   * Reads the upper alone when that says it all, else both sides.
   *
   * @throws CodedError `not-mine` a media type that this does not write, before anything is read; those of `sides`;
   *   `failed-precondition` what no layer can say; `data-loss` a damaged filesystem; those of the content store;
   *   `deadline-exceeded`, `cancelled`
   */
  async compare(o: CompareOptions): Promise<Descriptor> {
    const { mediaType, compression } = writtenMediaType(o.mediaType);
    try {
      const sides = await o.sides();
      const written = await this.#turns.run(() => this.#compareSides(o, compression, sides), o.signal);
      return { mediaType, ...written };
    } catch (error) {
      throw worded(error, o.signal);
    }
  }

  async #compareSides(o: CompareOptions, compression: Compression, sides: CompareSides) {
    if (sides.withUpper) {
      try {
        return await sides.withUpper((upper) => {
          const written = { changes: changesOfUpper(upper), seenAs: upper.notes, mostHoleBytes: upper.mostHoleBytes };
          return this.#write(o, compression, sides, { ...written, route: 'upper' });
        });
      } catch (error) {
        if (!(error instanceof UpperIsNotEnough)) throw error;
        this.#options.log.info(
          { cause: error.message },
          'comparing whole trees, since the upper alone does not say it all',
        );
      }
    }
    return sides.withTrees((left, right) => {
      const changes = changesBetween({ left, right, signal: o.signal });
      const written = { changes, seenAs: seenAs(right), mostHoleBytes: right.mostHoleBytes };
      return this.#write(o, compression, sides, { ...written, route: 'trees' });
    });
  }

  #write(o: CompareOptions, compression: Compression, sides: CompareSides, written: Written) {
    const { blobs, slots, timeoutMs, log } = this.#options;
    const { route, ...what } = written;
    const work = () =>
      withScope(log, async (scope) => {
        const started = performance.now();
        const signal = withDeadline(o.signal, timeoutMs, 'writing a diff', scope);
        const tar = layerTar({ ...what, latestNs: o.sourceDateEpoch, signal, log });
        // Ends after whatever it waits for now: files are closed before they are unmounted.
        scope.defer('files of the compared trees', async () => {
          await tar.return();
        });
        const uncompressed = new Measured(tar);
        const temporary = (purpose: string) => sides.temporary(purpose);
        const blob = new Measured(
          compressed(uncompressed.bytes(), { compression, temporary, deadlineMs: timeoutMs, signal }),
        );
        const finished = () => {
          // It tells how to read, and says nothing about the blob.
          const { [quiescedLabel]: _quiesced, ...labels } = o.labels;
          const { digest: diffId } = uncompressed.result();
          return { ...blob.result(), labels: { ...labels, [uncompressedLabel]: diffId } };
        };
        const { ref, namespace, lease } = o;
        await blobs.write({ ref, content: blob.bytes(), finished, namespace, lease, signal });
        const { digest, size } = blob.result();
        log.info({ digest, size, route, ms: Math.round(performance.now() - started) }, 'wrote a diff');
        return { digest, size };
      });
    return slots.run(work, o.signal);
  }
}

/** Takes digest and size of bytes that pass by. */
class Measured {
  readonly #source: Bytes;
  readonly #hash = createHash('sha256');
  #size = 0;
  #result: { readonly digest: Digest; readonly size: number } | undefined;

  constructor(source: Bytes) {
    this.#source = source;
  }

  async *bytes(): AsyncGenerator<Uint8Array, void, undefined> {
    for await (const part of this.#source) {
      this.#hash.update(part);
      this.#size += part.length;
      yield part;
    }
  }

  /** To be asked when the bytes have ended. */
  result(): { readonly digest: Digest; readonly size: number } {
    this.#result ??= { digest: `sha256:${this.#hash.digest('hex')}`, size: this.#size };
    return this.#result;
  }
}

/** How the kernel says that a filesystem contradicts itself; Node has no names for 74, EBADMSG, and 117, EUCLEAN. */
const damaged = /^(EIO|EBADMSG|EUCLEAN|Unknown system error -(74|117))$/;

function worded(error: unknown, signal: AbortSignal): CodedError {
  if (error instanceof CodedError) return error;
  if (signal.aborted) return new CodedError('cancelled', 'the diff was cancelled', { cause: error });
  const errno = errnoOf(error) ?? '';
  const message = error instanceof Error ? error.message : String(error);
  if (damaged.test(errno)) {
    return new CodedError('data-loss', `a filesystem that is compared is damaged: ${message}`, {
      next: 'copy from it what can be saved, and remove the container',
      cause: error,
    });
  }
  if (errno === 'ENAMETOOLONG') {
    return new CodedError('failed-precondition', `a path is longer than Linux can name: ${message}`, {
      next: 'remove or shorten it in the container',
      cause: error,
    });
  }
  return asCodedError(error, 'writing a diff');
}
