import type { Digest } from '../../vocabulary.js';
import type { LiveLayer } from '../model.js';
import type { TagSpec } from './tag.js';

/** Where an item was written. Without a file it stands in the env spec that was given. */
export interface Place {
  /** The item as it was written. */
  readonly text: string;
  readonly file?: string;
  /** Counted from 1. */
  readonly line?: number;
  /** Such as `layers[2]`. */
  readonly field?: string;
}

export interface DigestItem {
  readonly kind: 'digest';
  readonly digest: Digest;
  readonly source: Place;
}

/** What only the store can tell apart: looked up as the beginning of a digest first, then as a tag. At least one of them is there. */
export interface ReferenceItem {
  readonly kind: 'reference';
  readonly text: string;
  /** Base32 characters without padding. */
  readonly partial?: string;
  readonly tag?: TagSpec;
  /** What to do should neither be found, when there is something better to say than that it is unknown. */
  readonly hint?: string;
  readonly source: Place;
}

export interface LiveLayerItem {
  readonly kind: 'live-layer';
  readonly layer: LiveLayer;
  readonly source: Place;
}

/** One item of an environment, in order: later ones lie above earlier ones. Run specs are flattened into their items. */
export type EnvItem = DigestItem | ReferenceItem | LiveLayerItem;
