import { CodedError } from '../../errors.js';
import type { Compression } from '../media-types.js';

/** What containerd's own differ writes when the call names nothing. */
const whenNotNamed = 'application/vnd.oci.image.layer.v1.tar+gzip';

/** What a container changed can be distributed, so the media types of layers that cannot are none of these. */
const compressions: ReadonlyMap<string, Compression> = new Map([
  ['application/vnd.oci.image.layer.v1.tar', 'none'],
  ['application/vnd.oci.image.layer.v1.tar+gzip', 'gzip'],
  ['application/vnd.oci.image.layer.v1.tar+zstd', 'zstd'],
  ['application/vnd.docker.image.rootfs.diff.tar', 'none'],
  ['application/vnd.docker.image.rootfs.diff.tar.gzip', 'gzip'],
  ['application/vnd.docker.image.rootfs.diff.tar.zstd', 'zstd'],
]);

/**
 * The media type of the layer that a Diff asks for, and how it is compressed.
 *
 * @throws CodedError `not-mine` for one that this differ does not write, so that containerd asks the next
 */
export function writtenMediaType(asked: string): { readonly mediaType: string; readonly compression: Compression } {
  const mediaType = asked === '' ? whenNotNamed : asked;
  const compression = compressions.get(mediaType);
  if (compression !== undefined) return { mediaType, compression };
  const shown = mediaType.slice(0, 200);
  throw new CodedError('not-mine', `media type ${JSON.stringify(shown)} is not a layer this differ writes`, {
    facts: { mediaType: shown },
  });
}
