import type { ErofsTools } from '../erofs/index.js';
import type { WritableLayers } from '../ext4/index.js';
import type { SpaceReserve } from '../host/index.js';
import type { Slots } from '../jobs.js';
import type { ExpectLayer, HeldLayers } from '../layers/index.js';
import type { Logger } from '../log.js';
import type { MetadataStore } from '../metadata/index.js';
import type { KeyLocks } from '../key-locks.js';
import type { ChainIds } from './chain-ids.js';
import type { MergedImages } from './merged-images.js';
import type { GuestDisks } from './guest/mount.js';
import type { RootPaths } from './paths.js';
import type { Unsettled } from './unsettled.js';

/** Between whom layers are shared: all who use this daemon, or those of one containerd namespace. */
export type ShareLayers = 'all' | 'namespace';

/** What the parts of a snapshot's lifecycle share while the daemon runs. */
export interface Context {
  readonly paths: RootPaths;
  readonly store: MetadataStore;
  readonly keys: KeyLocks;
  /** Of those who ask for one layer on one parent, one shares it and the others find it. */
  readonly sharing: KeyLocks;
  readonly chainIds: ChainIds;
  readonly merged: MergedImages;
  /** Snapshots that a failed call could not put right. */
  readonly unsettled: Unsettled;
  readonly layers: HeldLayers;
  readonly writable: WritableLayers;
  readonly tools: ErofsTools;
  readonly slots: Slots;
  /** What conversions that run now may write. */
  readonly space: SpaceReserve;
  readonly log: Logger;
  readonly defaultSize: number;
  readonly setImmutable: boolean;
  readonly guestDisks: GuestDisks;
  readonly shareLayers: ShareLayers;
  readonly conversionTimeoutMs: number;
  /** Told of each snapshot that a layer will be extracted into. */
  readonly expectLayer: ExpectLayer;
}
