import { CodedError } from '../errors.js';

export type Compression = 'none' | 'gzip' | 'zstd';
/** A tar in one of the compressions, or an EROFS image that is taken as it is. */
export type LayerFormat = Compression | 'erofs';

/** The label of a blob by which containerd remembers its diff ID. */
export const uncompressedLabel = 'containerd.io/uncompressed';

/** What Apply answers: the layer as it is without compression. */
export const uncompressedMediaType = 'application/vnd.oci.image.layer.v1.tar';

/**
 * Every layer media type that Apply converts, and the compression that it states; the bytes decide (`compressionOf`). Sources: the
 * OCI image specification 1.1 (layers, and the deprecated non-distributable ones), Docker's image manifest version 2 schema 2, and
 * `application/vnd.docker.image.rootfs.diff.tar.zstd`, which builders write for zstd in Docker manifests.
 */
export const compressions: ReadonlyMap<string, Compression> = new Map([
  ['application/vnd.oci.image.layer.v1.tar', 'none'],
  ['application/vnd.oci.image.layer.v1.tar+gzip', 'gzip'],
  ['application/vnd.oci.image.layer.v1.tar+zstd', 'zstd'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar', 'none'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+gzip', 'gzip'],
  ['application/vnd.oci.image.layer.nondistributable.v1.tar+zstd', 'zstd'],
  ['application/vnd.docker.image.rootfs.diff.tar', 'none'],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', 'gzip'],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar', 'none'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar.gzip', 'gzip'],
  ['application/vnd.docker.image.rootfs.foreign.diff.tar.zstd', 'zstd'],
]);

/**
 * Layers that are EROFS images: containerd's constant (2.3 and later), and what images for 2.1 and 2.2 carry, which take for a
 * layer only what begins like the OCI types. A name that merely ends in `.erofs` may be anything.
 */
const nativeMediaTypes: readonly string[] = [
  'application/vnd.erofs.layer.v1',
  'application/vnd.oci.image.layer.v1.erofs',
];

/** @throws CodedError `not-mine` for any other media type, so that containerd asks the next differ. */
export function layerFormatOf(mediaType: string): LayerFormat {
  const compression = compressions.get(mediaType);
  if (compression !== undefined) return compression;
  if (nativeMediaTypes.includes(mediaType)) return 'erofs';
  throw new CodedError(
    'not-mine',
    `media type ${JSON.stringify(mediaType.slice(0, 200))} is not a layer this differ converts`,
    {
      facts: { mediaType: mediaType.slice(0, 200) },
    },
  );
}
