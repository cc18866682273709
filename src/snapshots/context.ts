import type { ErofsTools } from '../erofs/index.js';
import type { WritableLayers } from '../ext4/index.js';
import type { Slots } from '../jobs.js';
import type { HeldLayers } from '../layers/index.js';
import type { Logger } from '../log.js';
import type { MetadataStore } from '../metadata/index.js';
import type { KeyLocks } from '../key-locks.js';
import type { MergedImages } from './merged-images.js';
import type { RootPaths } from './paths.js';

/** What the parts of a snapshot's lifecycle share while the daemon runs. */
export interface Context {
  readonly paths: RootPaths;
  readonly store: MetadataStore;
  readonly keys: KeyLocks;
  readonly merged: MergedImages;
  readonly layers: HeldLayers;
  readonly writable: WritableLayers;
  readonly tools: ErofsTools;
  readonly slots: Slots;
  readonly log: Logger;
  readonly defaultSize: number;
  readonly setImmutable: boolean;
  readonly conversionTimeoutMs: number;
}
