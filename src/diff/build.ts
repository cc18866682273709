import { dirname } from 'node:path';
import { convertTar, layerUuid, worthwhileHoles, type Superblock } from '../erofs/index.js';
import { isCode, SnapshotterError } from '../errors.js';
import { digHoles, EarlyFlush, requireFreeBytes } from '../host/index.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Digest } from '../vocabulary.js';
import { detectCompression } from './compression.js';
import { ContentDigest, wrongDigest, type LocatedLayer } from './content-digest.js';
import { orAborted } from './deadline.js';
import { confirmWhole, decompress, decompressArriving } from './decompress.js';
import { flow, type CanonicalTarEnd, type Course } from './flow.js';
import type { ArrivingFile } from './follow.js';
import type { Inspector } from './thread/inspector.js';
import type { RelayResult } from './thread/relay.js';
import type { Compression } from './media-types.js';
import { sizeLimits, type SizeLimits } from './size-limit.js';

interface Means {
  /** A path for the image, in the folder of the layer's place. When this fails its caller removes what is there. */
  readonly output: string;
  readonly inspector: Inspector;
  /** Bytes that a layer's tar may have, at most. */
  readonly maxLayerBytes: number;
  readonly deadlineMs: number;
  readonly signal: AbortSignal;
}

export interface BuildOptions extends Means {
  readonly layer: LocatedLayer;
  /** What the tar must hash to, as far as its image says so. A tar that does needs no further proof. */
  readonly expectedDiffId?: Digest | undefined;
  /** As the media type states it; the bytes decide. */
  readonly compression: Compression;
}

export interface BuildArrivingOptions extends Means {
  readonly layer: ArrivingFile & { readonly digest: Digest };
  /** As its first bytes tell. */
  readonly compression: Exclude<Compression, 'none'>;
  readonly expectedDiffId: Digest;
}

type AnyOptions = BuildOptions | BuildArrivingOptions;

/**
 * Makes a layer a verified EROFS image. The tar flows to mkfs.erofs, from the decompressor or from where it lies, and is written nowhere.
 *
 * @throws SnapshotterError `data-loss` when the content does not have its digest, whatever else is wrong with it then;
 *   `invalid-argument` malformed content, or a tar that describes no tree; `resource-exhausted`, `deadline-exceeded`, `cancelled`
 */
export async function buildImage(o: BuildOptions): Promise<ConvertedLayer> {
  const content = new ContentDigest(o.layer, o.inspector, o.signal);
  return content.explaining(fromContent(o, content));
}

async function fromContent(o: BuildOptions, content: ContentDigest): Promise<ConvertedLayer> {
  const compression = await detectCompression(o.layer, o.compression);
  return compression === 'none' ? fromPlain(o) : fromCompressed(o, compression, content);
}

/**
 * Does the same with a layer that is still being fetched. Its bytes are read once, before anybody has checked them, so the tar is
 * worth nothing unless it hashes to what its image says.
 *
 * @throws SnapshotterError as `buildImage`; `data-loss` for a tar with another digest; `unavailable` when the fetch ends early
 */
export async function buildArriving(o: BuildArrivingOptions): Promise<ConvertedLayer> {
  const { layer: source, compression, expectedDiffId, deadlineMs } = o;
  return flowing(o, await limitsOf(o), {
    source: { bring: (output, signal) => decompressArriving({ source, compression, output, deadlineMs, signal }) },
    accept: ({ digest }) => {
      if (digest !== expectedDiffId) throw wrongDigest(expectedDiffId, digest, o.output);
    },
  });
}

async function fromCompressed(
  o: BuildOptions,
  compression: Exclude<Compression, 'none'>,
  content: ContentDigest,
): Promise<ConvertedLayer> {
  const { layer: source, expectedDiffId, deadlineMs } = o;
  const limits = await limitsOf(o);
  const limit = limits.tar.bytes < limits.image.bytes ? limits.tar : limits.image;
  return flowing(o, limits, {
    source: { bring: (output, signal) => decompress({ source, compression, limit, output, deadlineMs, signal }) },
    confirm: (bytes, signal) => confirmWhole({ source, compression, limit, signal }, bytes),
    accept: async ({ digest }) => {
      if (digest !== expectedDiffId) await content.check();
    },
  });
}

async function fromPlain(o: BuildOptions): Promise<ConvertedLayer> {
  const { path, digest } = o.layer;
  return flowing(o, await limitsOf(o), {
    source: { path },
    accept: (found) => {
      if (found.digest !== digest) throw wrongDigest(digest, found.digest, path);
    },
  });
}

async function flowing(
  o: AnyOptions,
  limits: SizeLimits,
  course: Omit<Course, 'makeImage' | 'onAdvance'>,
): Promise<ConvertedLayer> {
  const { inspector, signal, layer, output } = o;
  let early = new EarlyFlush(output);
  const makeImage = (tar: CanonicalTarEnd) => {
    const flush = (early = new EarlyFlush(output));
    return convert(o, tar).finally(() => flush.settle());
  };
  const flowed = await flow({ inspector, limits, signal }, { ...course, makeImage, onAdvance: () => early.start() });
  early.check();
  const { digest: diffId, size, superblock, zeroBytes } = flowed;
  await requireSameTree(o, flowed);
  if (zeroBytes >= Math.max(worthwhileHoles, size * worthwhileShare)) await digHoles(output, signal);
  return { digest: layer.digest, diffId, tarBytes: size, superblock };
}

/** Of a tar that is zeros: looking for them in the image costs as much as reading it. */
const worthwhileShare = 1 / 16;

/**
 * Compares the image with what was handed on to mkfs.erofs: paths, types and sizes.
 *
 * @throws SnapshotterError `data-loss`: a fault of ours or of the tool's, whatever the layer holds
 */
async function requireSameTree(
  { inspector, layer, output, signal }: AnyOptions,
  { handedOn }: RelayResult,
): Promise<void> {
  const { seed, sum, entries } = handedOn;
  const differs = (how: string, cause?: unknown) =>
    new SnapshotterError(
      'data-loss',
      `the image of layer ${layer.digest} is not what was handed on to mkfs.erofs: ${how}`,
      {
        facts: { layer: layer.digest, entries },
        next: "keep the layer and report this: the fault is this program's or mkfs.erofs'",
        ...(cause === undefined ? {} : { cause }),
      },
    );
  const walk = inspector.walk(output, { seed, maximumEntries: entries }).catch((error: unknown) => {
    throw isCode(error, 'data-loss') ? differs(error.message, error) : error;
  });
  const walked = await orAborted(walk, signal);
  if (walked.sum === sum) return;
  throw differs(
    walked.entries === entries ? 'entries differ' : `it has ${walked.entries} entries instead of ${entries}`,
  );
}

/** An image is not smaller than the compressed layer, so nothing is begun that cannot fit. */
async function limitsOf({ layer, output, maxLayerBytes }: AnyOptions): Promise<SizeLimits> {
  const folder = dirname(output);
  await requireFreeBytes(folder, layer.size, `layer ${layer.digest}`);
  return sizeLimits(layer, maxLayerBytes, folder);
}

function convert({ layer, output, deadlineMs }: AnyOptions, tar: CanonicalTarEnd): Promise<Superblock> {
  const what = `converting layer ${layer.digest} to EROFS`;
  return convertTar({ ...tar, what, output, uuid: layerUuid(layer.digest), deadlineMs });
}
