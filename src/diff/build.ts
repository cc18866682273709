import { dirname } from 'node:path';
import { convertTar, layerUuid, worthwhileHoles } from '../erofs/index.js';
import { digHoles, EarlyFlush, requireFreeBytes } from '../host/index.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Digest } from '../vocabulary.js';
import type { ArrivingFile } from './ahead/follow.js';
import { detectCompression } from './compression.js';
import { ContentDigest, wrongDigest, type LocatedLayer } from './content-digest.js';
import type { Conversion } from './conversion.js';
import { confirmWhole, decompress, decompressArriving } from './decompress.js';
import { flow, type CanonicalTarEnd, type Course } from './flow.js';
import type { Compression } from './media-types.js';
import { requireSameTree } from './same-tree.js';
import { sizeLimits, type SizeLimits } from './size-limit.js';

/** Of a tar that is zeros: looking for them in the image costs as much as reading it. */
const worthwhileShare = 1 / 16;

/**
 * Makes a layer a verified EROFS image. The tar flows to mkfs.erofs, from the decompressor or from where it lies, and is written nowhere.
 *
 * @param stated the compression that its media type states; its bytes decide
 * @throws CodedError `data-loss` when the content does not have its digest, whatever else is wrong with it then;
 *   `invalid-argument` malformed content, or a tar that describes no tree; `resource-exhausted`, `deadline-exceeded`, `cancelled`
 */
export async function imageOfTar(c: Conversion, layer: LocatedLayer, stated: Compression): Promise<ConvertedLayer> {
  const content = new ContentDigest(layer, c.inspector, c.signal);
  const making = async () => {
    const compression = await detectCompression(layer, stated);
    const limits = await limitsOf(c, layer.size);
    const course =
      compression === 'none' ? plainCourse(layer) : compressedCourse(c, layer, compression, limits, content);
    return flowing(c, limits, course);
  };
  return content.explaining(making());
}

/**
 * Does the same with a layer that is still being fetched. Its bytes are read once, before containerd has checked them, so the tar is
 * worth nothing unless it hashes to what its image says.
 *
 * @throws CodedError as `imageOfTar`; `data-loss` for a tar with another digest; `unavailable` when the fetch ends early
 */
export async function imageOfArriving(
  c: Conversion,
  source: ArrivingFile,
  compression: Exclude<Compression, 'none'>,
  diffId: Digest,
): Promise<ConvertedLayer> {
  const { deadlineMs } = c;
  return flowing(c, await limitsOf(c, source.size), {
    source: { bring: (output, signal) => decompressArriving({ source, compression, output, deadlineMs, signal }) },
    accept: ({ digest }) => {
      if (digest !== diffId) throw wrongDigest(diffId, digest, c.output);
    },
  });
}

/** Where a layer's tar comes from, and what proves it. */
type LayerCourse = Omit<Course, 'makeImage' | 'onAdvance'>;

function plainCourse({ path, digest }: LocatedLayer): LayerCourse {
  return {
    source: { path },
    accept: (found) => {
      if (found.digest !== digest) throw wrongDigest(digest, found.digest, path);
    },
  };
}

function compressedCourse(
  { diffId, deadlineMs }: Conversion,
  source: LocatedLayer,
  compression: Exclude<Compression, 'none'>,
  limits: SizeLimits,
  content: ContentDigest,
): LayerCourse {
  const limit = limits.tar.bytes < limits.image.bytes ? limits.tar : limits.image;
  return {
    source: { bring: (output, signal) => decompress({ source, compression, limit, output, deadlineMs, signal }) },
    confirm: (bytes, signal) => confirmWhole({ source, compression, limit, signal }, bytes),
    accept: async ({ digest }) => {
      if (digest !== diffId) await content.check();
    },
  };
}

async function flowing(c: Conversion, limits: SizeLimits, course: LayerCourse): Promise<ConvertedLayer> {
  const { inspector, signal, digest, output, deadlineMs } = c;
  const what = `converting layer ${digest} to EROFS`;
  let early = new EarlyFlush(output);
  const makeImage = (tar: CanonicalTarEnd) => {
    const flush = (early = new EarlyFlush(output));
    const image = convertTar({ ...tar, what, output, uuid: layerUuid(digest), deadlineMs });
    return image.finally(() => flush.settle());
  };
  const flowed = await flow({ inspector, limits, signal }, { ...course, makeImage, onAdvance: () => early.start() });
  early.check();
  const { digest: diffId, size, superblock, zeroBytes, handedOn } = flowed;
  await requireSameTree(c, handedOn);
  if (zeroBytes >= Math.max(worthwhileHoles, size * worthwhileShare)) await digHoles(output, signal);
  return { digest, diffId, tarBytes: size, superblock };
}

/** An image is not smaller than the compressed layer, so nothing is begun that cannot fit. */
async function limitsOf({ digest, output, maxLayerBytes }: Conversion, size: number): Promise<SizeLimits> {
  const folder = dirname(output);
  await requireFreeBytes(folder, size, `layer ${digest}`);
  return sizeLimits({ digest, size }, maxLayerBytes, folder);
}
