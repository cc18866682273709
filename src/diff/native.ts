import { constants } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { isCode, CodedError } from '../errors.js';
import { tryMerging, verifyLayer, type Superblock } from '../erofs/index.js';
import { requireFreeBytes } from '../host/index.js';
import type { ConvertedLayer } from '../layers/index.js';
import type { Digest } from '../vocabulary.js';
import { wrongDigest, type LocatedLayer } from './content-digest.js';
import type { Conversion } from './conversion.js';

/**
 * A layer that is an EROFS image already: verified, and copied as it is. Its diff ID is its digest.
 *
 * @throws CodedError `data-loss` when the content does not have its digest; `invalid-argument` when it is no usable image
 */
export async function takeNative(c: Conversion, { path, size }: LocatedLayer): Promise<ConvertedLayer> {
  const { digest, output, signal } = c;
  await requireFreeBytes(dirname(output), size, `the image of layer ${digest}`);
  const inspected = c.inspector.inspect({ path });
  // Both are over before anything is thrown, or the copy would appear after it was cleaned up.
  const copied = copyFile(path, output, constants.COPYFILE_FICLONE);
  await Promise.allSettled([inspected, copied]);
  const [found] = await Promise.all([inspected, copied]);
  signal.throwIfAborted();
  if (found.digest !== digest) throw wrongDigest(digest, found.digest, path);
  const superblock = await verifyForeign(c).catch((error: unknown) => {
    throw unusableImage(error, digest);
  });
  return { digest, diffId: digest, tarBytes: size, superblock };
}

/** Nothing about an image that others made is known before: its metadata is walked, and what the tool makes of it is tried. */
async function verifyForeign(c: Conversion): Promise<Superblock> {
  const superblock = await verifyLayer(c.output);
  await tryMerging(c.output, c.temporary('trial'), { deadlineMs: c.deadlineMs, signal: c.signal });
  return superblock;
}

function unusableImage(error: unknown, digest: Digest): unknown {
  if (!isCode(error, 'data-loss')) return error;
  return new CodedError('invalid-argument', `layer ${digest} is not a usable EROFS image: ${error.message}`, {
    facts: error.facts,
    next: 'build it with mkfs.erofs and blocks of 4096 bytes, in one file',
    cause: error,
  });
}
