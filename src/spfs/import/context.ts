import type { ContainerdClient } from '../../containerd/index.js';
import type { Logger } from '../../log.js';
import type { Chains } from '../chains/index.js';
import type { Layer, StoredObject } from '../model.js';

/** What every import works with. */
export interface ImportContext {
  readonly containerd: ContainerdClient;
  readonly chains: Chains;
  readonly log: Logger;
  readonly onProgress?: (progress: Progress) => void;
  readonly signal: AbortSignal;
}

/** How far a step of an import is. */
export interface Progress {
  /** `reading` counts bytes that were read; `unpacking` counts layers that are ready. */
  readonly step: 'reading' | 'unpacking';
  readonly done: number;
  /** An estimate, for the bytes of a folder. */
  readonly total: number;
}

/** The imported object, protected from garbage collection for a day at most, or until `release`. */
export interface Imported {
  readonly object: StoredObject;
  /** The layers of a platform, lowest first; a layer alone. */
  readonly layers: readonly Layer[];
  /** Ends the protection: keep the object first. Safe to call twice; never throws, logs. */
  release(): Promise<void>;
}
