import { SnapshotterError } from '../errors.js';
import { freeBytes } from '../host/index.js';
import type { Digest } from '../vocabulary.js';

/** How large a layer's tar may become, and what is wrong with a larger one. */
export interface SizeLimit {
  readonly bytes: number;
  readonly error: () => SnapshotterError;
}

/** Bytes that stay free on the disk whatever a layer unpacks to, for the daemon's own records and its neighbours. */
const reservedBytes = 64 * 1024 * 1024;

/** The configured limit, or what fits into `folder`: an image is hardly larger than its tar. */
export async function sizeLimit(
  layer: { readonly size: number; readonly digest: Digest },
  maxLayerBytes: number,
  folder: string,
): Promise<SizeLimit> {
  const free = await freeBytes(folder);
  const room = Math.max(0, free - reservedBytes);
  if (maxLayerBytes <= room) {
    return {
      bytes: maxLayerBytes,
      error: () =>
        new SnapshotterError('invalid-argument', `layer ${layer.digest} unpacks to more than ${maxLayerBytes} bytes`, {
          facts: { limitBytes: maxLayerBytes, compressedBytes: layer.size },
          next: 'raise max_layer_size in the configuration if you trust the image',
        }),
    };
  }
  return {
    bytes: room,
    error: () =>
      new SnapshotterError(
        'resource-exhausted',
        `layer ${layer.digest} unpacks to more than fits at ${folder}, where ${free} bytes are free`,
        { facts: { path: folder, freeBytes: free }, next: 'free disk space and try again' },
      ),
  };
}
