import { createHash } from 'node:crypto';
import type { Digest, OldestFirst } from '../../vocabulary.js';

/**
 * The digest of a stack: SHA-256 of the UTF-8 text `spfs-platform v1`, then each layer's `sha256:<hex>`, lowest first, each
 * of them ended by a line feed. So it depends on the layers and their order, and on nothing else.
 */
export function platformDigest(layers: OldestFirst<Digest>): Digest {
  const hash = createHash('sha256').update('spfs-platform v1\n');
  for (const layer of layers) hash.update(`${layer}\n`);
  return `sha256:${hash.digest('hex')}`;
}
