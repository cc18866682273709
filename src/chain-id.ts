import { hash } from 'node:crypto';

import type { Digest } from './vocabulary.js';

/**
 * OCI's chain ID of a layer on a chain: what the layers below and this one are together.
 *
 * @param parent chain ID of the layers below; undefined when there are none
 */
export function chainIdOf(parent: Digest | undefined, diffId: Digest): Digest {
  if (parent === undefined) return diffId;
  return `sha256:${hash('sha256', `${parent} ${diffId}`)}`;
}
