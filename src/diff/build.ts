import { dirname } from 'node:path';
import { isCode, SnapshotterError } from '../errors.js';
import { convertTar, layerUuid, type ConvertTarOptions, type Superblock } from '../erofs/index.js';
import { EarlyFlush, requireFreeBytes } from '../host/index.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Digest } from '../vocabulary.js';
import { detectCompression } from './compression.js';
import { ContentDigest, wrongDigest, type LocatedLayer } from './content-digest.js';
import { orAborted } from './deadline.js';
import { confirmWhole, decompress, decompressArriving } from './decompress.js';
import { flow, type CheckedTar, type Course } from './flow.js';
import type { ArrivingFile } from './follow.js';
import type { Inspector } from './inspector.js';
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
 * Makes a layer a verified EROFS image. A compressed tar flows from the decompressor to mkfs.erofs and is written nowhere; a plain one
 * is converted where it lies, unless it implies folders.
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
  return compression === 'none' ? fromPlain(o, content) : fromCompressed(o, compression, content);
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

async function fromPlain(o: BuildOptions, content: ContentDigest): Promise<ConvertedLayer> {
  const { layer, inspector, signal, output } = o;
  const { path, digest, size } = layer;
  const limits = await limitsOf(o);
  if (size > limits.tar.bytes) throw limits.tar.error();
  // The headers alone are read quickly; the digest is then taken while mkfs.erofs runs.
  const { implied, imageBytes = size } = await orAborted(inspector.inspect({ path, digest: false, tar: true }), signal);
  await requireFreeBytes(dirname(output), imageBytes, `the image of layer ${digest}`);
  if (implied?.folders === true) return fromIncompletePlain(o, limits);
  const image = convert(o, { tar: path, signal, ...(implied ? { implied } : {}) });
  const [converted, checked] = await Promise.allSettled([image, content.check()]);
  // A wrong digest explains a failed conversion, not the other way round.
  if (checked.status === 'rejected') throw checked.reason;
  if (converted.status === 'rejected') throw converted.reason;
  return { digest, diffId: digest, tarBytes: size, superblock: converted.value };
}

/** What the tar implies is described at its end, which it cannot be where it lies. */
async function fromIncompletePlain(o: BuildOptions, limits: SizeLimits): Promise<ConvertedLayer> {
  const { path, digest } = o.layer;
  return flowing(o, limits, {
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
  const early = new EarlyFlush(output);
  const whole = { ...course, makeImage: (tar: CheckedTar) => convert(o, tar), onAdvance: () => early.start() };
  const flowed = await flow({ inspector, limits, signal }, whole).finally(() => early.settle());
  early.check();
  const { digest: diffId, size, superblock } = flowed;
  return { digest: layer.digest, diffId, tarBytes: size, superblock };
}

/** An image is not smaller than the compressed layer, so nothing is begun that cannot fit. */
async function limitsOf({ layer, output, maxLayerBytes }: AnyOptions): Promise<SizeLimits> {
  const folder = dirname(output);
  await requireFreeBytes(folder, layer.size, `layer ${layer.digest}`);
  return sizeLimits(layer, maxLayerBytes, folder);
}

async function convert(
  { layer, output, deadlineMs }: AnyOptions,
  tar: Pick<ConvertTarOptions, 'tar' | 'implied' | 'signal'>,
): Promise<Superblock> {
  try {
    const what = `converting layer ${layer.digest} to EROFS`;
    return await convertTar({ ...tar, what, output, uuid: layerUuid(layer.digest), deadlineMs });
  } catch (error) {
    throw refusedTar(error, layer.digest);
  }
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
