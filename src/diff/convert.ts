import { rm, writeFile, type FileHandle } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Content } from '../containerd/index.js';
import { isCode } from '../errors.js';
import { requireFreeBytes, syncFile } from '../host/index.js';
import type { Slots } from '../jobs.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Logger } from '../log.js';
import { withScope } from '../scope.js';
import type { Digest } from '../vocabulary.js';
import { imageOfArriving, imageOfTar } from './build.js';
import type { LocatedLayer } from './content-digest.js';
import { Conversion, type ConversionBounds, type ConversionRequest } from './conversion.js';
import type { Compression } from './media-types.js';
import { takeNative } from './native.js';
import { Inspectors } from './thread/inspector.js';

/** What converting needs of a content store. */
export type LayerSource = Pick<Content, 'open'>;

export interface ConverterOptions extends ConversionBounds {
  readonly content: LayerSource;
  /** Bounds how many layers are converted at once. */
  readonly slots: Slots;
  readonly log: Logger;
}

/** A layer that is still being fetched; it will have `descriptor.size` bytes. */
export interface ArrivingRequest extends ConversionRequest {
  /** Its owner closes it. */
  readonly file: FileHandle;
  readonly diffId: Digest;
  /** As its first bytes tell. */
  readonly format: Exclude<Compression, 'none'>;
}

/** A verified image under a temporary name, which its receiver publishes or removes. */
export interface PreparedLayer {
  readonly path: string;
  readonly layer: ConvertedLayer;
  /** How it was made: from a tar that flowed to mkfs.erofs, or of an image that was one already. */
  readonly route: 'flow' | 'native';
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
  convert(request: ConversionRequest): Promise<PreparedLayer> {
    const { slots, content } = this.#options;
    const converting = () =>
      this.#run(request, async (c) => {
        const started = performance.now();
        const layer = await locate(c, content);
        const locateMs = since(started);
        const { format } = c;
        if (format === 'erofs') return produced(c, 'native', locateMs, () => takeNative(c, layer));
        return produced(c, 'flow', locateMs, () => imageOfTar(c, layer, format));
      });
    return slots.run(converting, request.signal);
  }

  /**
   * Converts a layer while it is fetched, which takes no turn since it mostly waits. A failed call leaves nothing behind.
   *
   * @throws as `convert`, and what `imageOfArriving` throws
   */
  convertArriving(request: ArrivingRequest): Promise<PreparedLayer> {
    const { file, descriptor, diffId, format } = request;
    const arriving = { file, size: descriptor.size };
    return this.#run(request, (c) => produced(c, 'flow', 0, () => imageOfArriving(c, arriving, format, diffId)));
  }

  /** Ends the threads that read layers. What still runs fails. */
  async close(): Promise<void> {
    await this.#inspectors.close();
  }

  #run(request: ConversionRequest, work: (c: Conversion) => Promise<PreparedLayer>): Promise<PreparedLayer> {
    const { log } = this.#options;
    const running = withScope(log, (scope) => work(new Conversion(request, this.#options, this.#inspectors, scope)));
    return running.catch((error: unknown) => {
      if (isCode(error, 'data-loss')) log.error({ err: error, layer: request.digest }, 'a layer is not used');
      throw error;
    });
  }
}

/** The content as a file: containerd's own, or a copy where that cannot be read. */
async function locate(c: Conversion, source: LayerSource): Promise<LocatedLayer> {
  const { descriptor, digest, namespace, signal } = c;
  const content = await source.open(descriptor, namespace, signal);
  if (content.kind === 'file') return { path: content.path, size: content.size, digest };
  const path = c.temporary('blob');
  await requireFreeBytes(dirname(path), content.size, `the content of layer ${digest}`);
  await writeFile(path, content.stream, { flag: 'wx', mode: 0o600, signal });
  return { path, size: content.size, digest };
}

/** Makes the image, and makes it last; on failure nothing of it stays. */
async function produced(
  c: Conversion,
  route: PreparedLayer['route'],
  locateMs: number,
  make: () => Promise<ConvertedLayer>,
): Promise<PreparedLayer> {
  const { output: path, signal } = c;
  const started = performance.now();
  try {
    const layer = await make();
    const convertMs = since(started);
    // Here, and not only when it is published: a layer that is converted ahead then has nothing left to wait for.
    await syncFile(path);
    signal.throwIfAborted();
    return { path, layer, route, timings: { locateMs, convertMs, flushMs: since(started) - convertMs } };
  } catch (error) {
    await rm(path, { force: true });
    throw error;
  }
}

function since(start: number): number {
  return Math.round(performance.now() - start);
}
