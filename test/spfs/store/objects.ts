import { createHash } from 'node:crypto';
import type { Layer, Platform, StoredObject, TagEntry } from '../../../src/spfs/model.js';
import { platformDigest } from '../../../src/spfs/store/index.js';
import { newestFirst, oldestFirst, type Digest, type OldestFirst } from '../../../src/vocabulary.js';

/** The same digest for the same text. */
export function digestOf(text: string): Digest {
  return `sha256:${createHash('sha256').update(text).digest('hex')}`;
}

export function layer(text: string): Layer {
  return { kind: 'layer', digest: digestOf(text), createdAt: '2026-01-02T03:04:05Z', origin: text };
}

/** Lowest first. */
export function stack(...layers: readonly StoredObject[]): OldestFirst<Digest> {
  return oldestFirst(newestFirst(layers.map(({ digest }) => digest).reverse()));
}

export function platform(...layers: readonly StoredObject[]): Platform {
  const digests = stack(...layers);
  const digest = platformDigest(digests);
  return { kind: 'platform', digest, layers: digests, createdAt: '2026-01-02T03:04:05Z', origin: 'a test' };
}

export function entry(object: StoredObject, user = 'someone'): TagEntry {
  return { digest: object.digest, user, time: '2026-01-02T03:04:05Z' };
}
