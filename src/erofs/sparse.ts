import type { LargeFiles } from '../host/index.js';

/** Bytes of zeros for which an image is looked through, or made in another way. */
export const worthwhileHoles = 1024 * 1024;

/** See `node-check.ts`: a larger file in chunks is merged wrongly. */
const largestInChunks = 2 ** 32;

/**
 * How a directory becomes an image without its holes. In chunks they are never written, but mkfs.erofs takes the sha256 of all the data
 * (270 MB/s here, instead of 900); else they are written (190 MB/s, as they come with a flush) and dug out afterwards. So chunks are for
 * trees of which most is holes. Pure.
 */
export function planFor({ apparentBytes, bytes, holes, largest }: LargeFiles): {
  readonly chunks: boolean;
  /** Bytes that the image takes while it is made, at least. */
  readonly writtenBytes: number;
} {
  const chunks = holes >= worthwhileHoles && holes >= bytes && largest <= largestInChunks;
  return { chunks, writtenBytes: chunks ? bytes : apparentBytes };
}
