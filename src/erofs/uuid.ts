import { createHash } from 'node:crypto';
import type { Digest, OldestFirst } from '../vocabulary.js';

/** The URL namespace of RFC 9562, appendix A. */
const urlNamespace = Buffer.from('6ba7b8119dad11d180b400c04fd430c8', 'hex');

/** A version-5 UUID (RFC 9562, section 5.5) in the URL namespace, in lower case with hyphens. */
function nameBasedUuid(name: string): string {
  const bytes = createHash('sha1').update(urlNamespace).update(name, 'utf8').digest().subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x50, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return formatUuid(bytes);
}

/** Spells 16 bytes as a UUID. */
export function formatUuid(bytes: Buffer): string {
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-');
}

/** The UUID of a layer's image, by the rule of containerd's own EROFS differ. `digest` is that of the layer's descriptor. */
export function layerUuid(digest: Digest): string {
  return nameBasedUuid(`erofs:blobs/${digest}`);
}

/** The UUID of a layer that no descriptor names: what a container changed, committed under `name`. */
export function snapshotUuid(name: string): string {
  return nameBasedUuid(`erofs:snapshots/${name}`);
}

/** The UUID of a merged image: the same layers in the same order give the same one. */
export function mergedUuid(layerUuids: OldestFirst<string>): string {
  return nameBasedUuid(`erofs:merged/${layerUuids.join(',')}`);
}

/** The UUID of an image that is merged in so that the merged view is right, by the hash of its bytes. */
export function inlayUuid(contentHash: string): string {
  return nameBasedUuid(`erofs:inlays/${contentHash}`);
}
