import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode, SnapshotterError } from '../errors.js';
import { convertTar, layerUuid, type ConvertTarOptions, type Superblock } from '../erofs/index.js';
import { EarlyFlush, requireFreeBytes } from '../host/index.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Digest } from '../vocabulary.js';
import { ContentDigest, orAborted, wrongDigest, type LocatedLayer } from './content-digest.js';
import { confirmWhole, decompress, decompressArriving } from './decompress.js';
import { flow, type Course } from './flow.js';
import type { ArrivingFile } from './follow.js';
import type { Inspector } from './inspector.js';
import type { Compression } from './media-types.js';
import { sizeLimit, type SizeLimit } from './size-limit.js';

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
  readonly compression: Compression;
}

export interface BuildArrivingOptions extends Means {
  readonly layer: ArrivingFile & { readonly digest: Digest };
  readonly compression: Exclude<Compression, 'none'>;
  readonly expectedDiffId: Digest;
}

type AnyOptions = BuildOptions | BuildArrivingOptions;

/**
 * Makes a layer a verified EROFS image. A compressed tar flows from the decompressor to mkfs.erofs and is written nowhere; a plain one
 * is converted where it lies.
 *
 * @throws SnapshotterError `data-loss` when the content does not have its digest, whatever else is wrong with it then;
 *   `invalid-argument` malformed content, or a tar that describes no tree; `resource-exhausted`, `deadline-exceeded`, `cancelled`
 */
export async function buildImage(o: BuildOptions): Promise<ConvertedLayer> {
  const content = new ContentDigest(o.layer, o.inspector, o.signal);
  const { compression } = o;
  return content.explaining(compression === 'none' ? fromPlain(o, content) : fromCompressed(o, compression, content));
}

/**
 * Does the same with a layer that is still being fetched. Its bytes are read once, before anybody has checked them, so the tar is
 * worth nothing unless it hashes to what its image says.
 *
 * @throws SnapshotterError as `buildImage`; `data-loss` for a tar with another digest; `unavailable` when the fetch ends early
 */
export async function buildArriving(o: BuildArrivingOptions): Promise<ConvertedLayer> {
  const { layer: source, compression, expectedDiffId, deadlineMs } = o;
  return flowing(o, await limitOf(o), {
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
  const limit = await limitOf(o);
  return flowing(o, limit, {
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
  // The headers alone are read quickly; the digest is then taken while mkfs.erofs runs.
  const { implied } = await orAborted(inspector.inspect({ path, digest: false, tar: true }), signal);
  await requireFreeBytes(dirname(output), size, `the image of layer ${digest}`);
  if (implied?.folders === true) return fromIncompletePlain(o);
  const image = convert(o, { tar: path, signal, ...(implied ? { implied } : {}) });
  const [converted, checked] = await Promise.allSettled([image, content.check()]);
  // A wrong digest explains a failed conversion, not the other way round.
  if (checked.status === 'rejected') throw checked.reason;
  if (converted.status === 'rejected') throw converted.reason;
  return { digest, diffId: digest, tarBytes: size, superblock: converted.value };
}

/** What the tar implies is described at its end, which it cannot be where it lies. */
async function fromIncompletePlain(o: BuildOptions): Promise<ConvertedLayer> {
  const { path, digest } = o.layer;
  const file = await open(path, 'r');
  try {
    return await flowing(o, await limitOf(o), {
      source: { fd: file.fd },
      accept: (found) => {
        if (found.digest !== digest) throw wrongDigest(digest, found.digest, path);
      },
    });
  } finally {
    await file.close();
  }
}

async function flowing(
  o: AnyOptions,
  limit: SizeLimit,
  course: Omit<Course, 'makeImage' | 'onAdvance'>,
): Promise<ConvertedLayer> {
  const makeImage: Course['makeImage'] = (tar) => convert(o, tar);
  const { inspector, signal, layer, output } = o;
  const early = new EarlyFlush(output);
  const onAdvance = () => early.start();
  const made = await flow({ inspector, limit, signal }, { ...course, makeImage, onAdvance });
  const { digest: diffId, size, superblock } = made;
  return { digest: layer.digest, diffId, tarBytes: size, superblock };
}

/** An image is hardly smaller than the compressed layer. */
async function limitOf({ layer, output, maxLayerBytes }: AnyOptions): Promise<SizeLimit> {
  const folder = dirname(output);
  await requireFreeBytes(folder, layer.size, `layer ${layer.digest}`);
  return sizeLimit(layer, maxLayerBytes, folder);
}

async function convert(
  { layer, output, deadlineMs }: AnyOptions,
  tar: Pick<ConvertTarOptions, 'tar' | 'implied' | 'signal'>,
): Promise<Superblock> {
  try {
    return await convertTar({ ...tar, output, uuid: layerUuid(layer.digest), deadlineMs });
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
