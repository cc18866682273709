import type { FileHandle } from 'node:fs/promises';
import { CodedError } from '../errors.js';
import { readPart } from './decompress.js';
import type { Compression } from './media-types.js';
import { blockSize, hasRightChecksum } from './tar/block.js';

/** As many first bytes of a layer as it takes to tell what it is: the first header of a tar. */
const tellingBytes = blockSize;

/** The magic numbers of RFC 1952 (with deflate, its one method) and RFC 8878; a zstd stream may begin with a skippable frame. */
function compressionByMagic(first: Buffer): Exclude<Compression, 'none'> | undefined {
  if (first.length >= 3 && first.readUIntBE(0, 3) === 0x1f8b08) return 'gzip';
  if (first.length < 4) return undefined;
  const magic = first.readUInt32LE(0);
  return magic === 0xfd2fb528 || magic >>> 4 === 0x184d2a5 ? 'zstd' : undefined;
}

/** Nothing at all, a header, or the zeros that end an archive. */
function beginsLikeTar(first: Buffer): boolean {
  if (first.length < blockSize) return first.length === 0;
  return hasRightChecksum(first) || first.every((byte) => byte === 0);
}

/**
 * How a layer is compressed, by its bytes: media types lie. containerd itself writes that of gzip for the zstd layers of a
 * docker-archive, and detects what its own import labelled. What is said to be plain and begins with a header is, whatever else
 * the name in that header looks like.
 *
 * @param first the layer's first {@link tellingBytes} bytes, or all of a shorter one
 * @param labelled what its media type says
 * @throws CodedError `invalid-argument` for what is said to be compressed and is neither that nor a tar
 */
export function compressionOf(first: Buffer, labelled: Compression): Compression {
  const isTar = beginsLikeTar(first);
  if (labelled === 'none' && isTar) return 'none';
  const found = compressionByMagic(first);
  if (found !== undefined) return found;
  // What is wrong with a plain tar is told by those who read it.
  if (labelled === 'none' || isTar) return 'none';
  const begin = first.subarray(0, 4).toString('hex');
  throw new CodedError('invalid-argument', `the layer is not ${labelled}, nor any tar: it begins with ${begin}`, {
    facts: { firstBytes: begin, labelled },
    next: 'build or push the image again',
  });
}

/** The same of a file. @throws CodedError as {@link compressionOf}; `not-found` when the file is gone */
export async function detectCompression(
  { path }: { readonly path: string },
  labelled: Compression,
): Promise<Compression> {
  return compressionOf(await readPart(path, 0, tellingBytes), labelled);
}

/** The same of a file that is still being written. @returns undefined while that cannot be told */
export async function detectArriving(file: FileHandle, labelled: Compression): Promise<Compression | undefined> {
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(tellingBytes), 0, tellingBytes, 0);
    return bytesRead < tellingBytes ? undefined : compressionOf(buffer, labelled);
  } catch {
    // What is wrong is told to those who ask for the layer.
    return undefined;
  }
}
