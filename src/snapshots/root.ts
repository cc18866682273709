import type { ErofsTools } from '../erofs/index.js';
import { WritableLayers, writableLayerLimits } from '../ext4/index.js';
import { CodedError } from '../errors.js';
import { lockExclusively, makeFolder, SpaceReserve, type Lock } from '../host/index.js';
import type { Slots } from '../jobs.js';
import { KeyLocks } from '../key-locks.js';
import { HeldLayers, type ExpectLayer } from '../layers/index.js';
import type { Logger } from '../log.js';
import type { MetadataStore } from '../metadata/index.js';
import { ChainIds } from './chain-ids.js';
import type { Context, ShareLayers } from './context.js';
import type { GuestDisks } from './guest/mount.js';
import { MergedImages } from './merged-images.js';
import { openMetadata } from './open-metadata.js';
import { claimRoot } from './ownership.js';
import { RootPaths } from './paths.js';
import { recover, type RecoveryReport } from './recovery.js';
import { Snapshotter } from './snapshotter.js';
import { Unsettled } from './unsettled.js';

export interface SnapshotterOptions {
  readonly root: string;
  /** Bytes of a container's writable layer when its labels name no size. */
  readonly defaultSize: number;
  readonly setImmutable: boolean;
  /** The kernel, unless given. */
  readonly guestDisks?: GuestDisks;
  /** All, unless given: every client that names a layer which the daemon holds gets it. */
  readonly shareLayers?: ShareLayers;
  readonly tools: ErofsTools;
  /** Shared with the differ: conversions and merges at once. */
  readonly slots: Slots;
  readonly conversionTimeoutMs: number;
  /** Told of each snapshot that a layer will be extracted into. */
  readonly expectLayer?: ExpectLayer;
  readonly log: Logger;
}

/**
 * Makes the root when it is missing (mode 0700) and takes its lock, for this process alone.
 *
 * @throws CodedError `failed-precondition` when another process uses the root, or it is another program's or cannot be made;
 *   `invalid-argument` for a default size out of range
 */
export async function openRoot(options: SnapshotterOptions): Promise<Root> {
  const { minimum, maximum } = writableLayerLimits;
  if (options.defaultSize < minimum || options.defaultSize > maximum) {
    throw new CodedError('invalid-argument', `default size ${options.defaultSize} is out of range`, {
      next: `choose ${minimum} to ${maximum} bytes`,
    });
  }
  const paths = new RootPaths(options.root);
  await claimRoot(paths, options.log);
  for (const folder of [paths.snapshots, paths.trash, paths.aheads]) await makeFolder(folder, 0o700);
  return new Root(options, paths, await lockExclusively(paths.lock));
}

/** A root that is surely ours, held by this process, whose folders and records may not agree yet. */
export class Root {
  /** What {@link recover} gives; a daemon listens first, so that containerd finds it, and its calls wait for this. */
  readonly recovered: Promise<Snapshotter>;
  readonly #options: SnapshotterOptions;
  readonly #paths: RootPaths;
  readonly #lock: Lock;
  #startRecovery!: (recovered: Promise<Snapshotter>) => void;
  #recovering = false;

  constructor(options: SnapshotterOptions, paths: RootPaths, lock: Lock) {
    this.#options = options;
    this.#paths = paths;
    this.#lock = lock;
    this.recovered = new Promise((resolve) => {
      this.#startRecovery = resolve;
    });
    // Callers see the failure of a recovery; without a caller the rejection must not crash the process.
    this.recovered.catch(() => undefined);
  }

  /** Starts the recovery, once. */
  recover(): Promise<Snapshotter> {
    if (!this.#recovering) this.#startRecovery(this.#recover());
    this.#recovering = true;
    return this.recovered;
  }

  /** Closes the snapshotter as well, when there is one by now. */
  async close(): Promise<void> {
    const snapshotter = this.#recovering ? await this.recovered.catch(() => undefined) : undefined;
    await (snapshotter ? snapshotter.close() : this.#lock.release());
  }

  async #recover(): Promise<Snapshotter> {
    const { log, tools, slots, conversionTimeoutMs: deadlineMs } = this.#options;
    const started = performance.now();
    const store = await openMetadata(this.#paths, log);
    const layers = new HeldLayers();
    const report = await this.#reconcile(store, layers);
    log.info({ ...report, ms: Math.round(performance.now() - started) }, 'recovered');
    const context: Context = {
      ...this.#options,
      shareLayers: this.#options.shareLayers ?? 'all',
      expectLayer: this.#options.expectLayer ?? (() => undefined),
      guestDisks: this.#options.guestDisks ?? 'kernel',
      paths: this.#paths,
      store,
      layers,
      keys: new KeyLocks(),
      sharing: new KeyLocks(),
      chainIds: new ChainIds(store),
      space: new SpaceReserve(),
      unsettled: new Unsettled(),
      merged: new MergedImages({ tools, slots, deadlineMs, log }),
      writable: new WritableLayers(),
    };
    return new Snapshotter(context, this.#lock);
  }

  async #reconcile(store: MetadataStore, layers: HeldLayers): Promise<RecoveryReport> {
    try {
      return await recover({ paths: this.#paths, store, layers, log: this.#options.log });
    } catch (error) {
      await store.close();
      throw error;
    }
  }
}
