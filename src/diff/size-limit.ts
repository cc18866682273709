import { CodedError } from '../errors.js';
import { freeBytes } from '../host/index.js';
import type { Digest } from '../vocabulary.js';

export interface SizeLimit {
  readonly bytes: number;
  /** What is wrong with something larger. */
  readonly error: () => CodedError;
}

/** How large a layer's tar and image may become. */
export interface SizeLimits {
  readonly tar: SizeLimit;
  readonly image: SizeLimit;
}

/** Bytes that stay free on the disk whatever a layer unpacks to, for the daemon's own records and its neighbours. */
const reservedBytes = 64 * 1024 * 1024;

/** The tar is bounded by the configuration, and the image, which may be several times as large, by what fits into `folder`. */
export async function sizeLimits(
  { digest, size }: { readonly size: number; readonly digest: Digest },
  maxLayerBytes: number,
  folder: string,
): Promise<SizeLimits> {
  const free = await freeBytes(folder);
  return {
    tar: {
      bytes: maxLayerBytes,
      error: () =>
        new CodedError('invalid-argument', `layer ${digest} unpacks to more than ${maxLayerBytes} bytes`, {
          facts: { limitBytes: maxLayerBytes, layerBytes: size },
          next: 'raise max_layer_size in the configuration if you trust the image',
        }),
    },
    image: {
      bytes: Math.max(0, free - reservedBytes),
      error: () =>
        new CodedError(
          'resource-exhausted',
          `layer ${digest} unpacks to more than fits at ${folder}, where ${free} bytes are free`,
          { facts: { path: folder, freeBytes: free }, next: 'free disk space and try again' },
        ),
    },
  };
}
