import type { ErofsTools } from '../erofs/index.js';
import { WritableLayers, writableLayerLimits } from '../ext4/index.js';
import { SnapshotterError } from '../errors.js';
import {
  diskUsage,
  lockExclusively,
  makeFolder,
  SpaceReserve,
  type DiskUsage,
  type Lock,
  wallClock,
} from '../host/index.js';
import { Jobs, type Slots } from '../jobs.js';
import { HeldLayers, type CompareSides, type ExpectLayer, type ExtractTarget } from '../layers/index.js';
import type { Logger } from '../log.js';
import { checkLabels, type MetadataStore } from '../metadata/index.js';
import { isoOf } from '../timestamps.js';
import type { Labels, Mount } from '../vocabulary.js';
import { commitSnapshot, type CommitRequest } from './commit.js';
import { findCompareSides, type CompareRequest } from './compare/routes.js';
import { ChainIds } from './chain-ids.js';
import type { Context, ShareLayers } from './context.js';
import { createSnapshot } from './create.js';
import { findExtractTarget } from './extract-target.js';
import { infoOf, listSnapshots, type SnapshotInfo } from './list.js';
import { KeyLocks } from '../key-locks.js';
import { MergedImages } from './merged-images.js';
import type { GuestDisks } from './guest/mount.js';
import { mountsOf } from './mounts.js';
import { openMetadata } from './open-metadata.js';
import { claimRoot } from './ownership.js';
import { RootPaths } from './paths.js';
import { existing, writeRecordFileWith } from './records.js';
import { recover, type RecoveryReport } from './recovery.js';
import { removeSnapshot } from './remove.js';
import { roleOfPrepare, updatedLabels, type CreateRequest } from './requests.js';
import { settle } from './settle.js';
import { eraseTrash } from './trash.js';
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
 * containerd's snapshotter contract on top of folders and records. Every method throws SnapshotterError with the codes of
 * docs/mounts.md.
 */
export class Snapshotter {
  /** Resolves when the recovery has ended; every call waits for it. */
  readonly ready: Promise<void>;
  readonly #options: SnapshotterOptions;
  readonly #paths: RootPaths;
  readonly #lock: Lock;
  readonly #background = new Jobs<unknown>();
  readonly #context: Promise<Context>;
  #startRecovery!: (recovered: Promise<Context>) => void;
  #recovering = false;

  private constructor(options: SnapshotterOptions, paths: RootPaths, lock: Lock) {
    this.#options = options;
    this.#paths = paths;
    this.#lock = lock;
    this.#context = new Promise((resolve) => {
      this.#startRecovery = resolve;
    });
    this.ready = this.#context.then(() => undefined);
    // Callers see the failure of a recovery; without a caller the rejection must not crash the process.
    this.ready.catch(() => undefined);
  }

  /**
   * Makes the root when it is missing (mode 0700) and takes its lock, for this process alone.
   *
   * @throws SnapshotterError `failed-precondition` when another process uses the root, or it is another program's or cannot be made;
   *   `invalid-argument` for a default size out of range
   */
  static async open(options: SnapshotterOptions): Promise<Snapshotter> {
    const { minimum, maximum } = writableLayerLimits;
    if (options.defaultSize < minimum || options.defaultSize > maximum) {
      throw new SnapshotterError('invalid-argument', `default size ${options.defaultSize} is out of range`, {
        next: `choose ${minimum} to ${maximum} bytes`,
      });
    }
    const paths = new RootPaths(options.root);
    await claimRoot(paths, options.log);
    for (const folder of [paths.snapshots, paths.trash, paths.aheads]) await makeFolder(folder, 0o700);
    return new Snapshotter(options, paths, await lockExclusively(paths.lock));
  }

  /** Starts the recovery, once; a daemon listens first, so that containerd finds it. */
  recover(): Promise<void> {
    if (!this.#recovering) this.#startRecovery(this.#recover());
    this.#recovering = true;
    return this.ready;
  }

  /** @throws SnapshotterError `already-exists` as well for a layer that is here, when the labels name one */
  async prepare(request: CreateRequest): Promise<readonly Mount[]> {
    return createSnapshot(await this.#use(), roleOfPrepare(request.key), request);
  }

  async view(request: CreateRequest): Promise<readonly Mount[]> {
    return createSnapshot(await this.#use(), 'view', request);
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    return mountsOf(await this.#use(), key);
  }

  async commit(request: CommitRequest): Promise<void> {
    await commitSnapshot(await this.#use(), request);
  }

  async remove(key: string): Promise<void> {
    await removeSnapshot(await this.#use(), key);
  }

  async stat(key: string): Promise<SnapshotInfo> {
    const { store } = await this.#use();
    return infoOf(await existing(store, key));
  }

  /** Changes labels, by the field mask `paths`; see {@link updatedLabels}. */
  async update(
    info: { readonly name: string; readonly labels: Labels },
    paths: readonly string[],
  ): Promise<SnapshotInfo> {
    const context = await this.#use();
    return context.store.exclusive('update', async (tx) => {
      const record = await existing(tx, info.name);
      const labels = updatedLabels(record.labels, info.labels, paths);
      checkLabels(labels);
      const after = await tx.replace({ ...record, labels, updatedAt: isoOf(wallClock()) });
      await writeRecordFileWith(context, tx, after);
      return infoOf(after);
    });
  }

  /**
   * Every snapshot that one of the filters selects, ordered by name; see {@link listSnapshots}.
   *
   * @param namespace whose call it is
   * @throws SnapshotterError `invalid-argument` for a filter that cannot be parsed, before the first one is given
   */
  list(filters: readonly string[], namespace?: string): AsyncIterable<SnapshotInfo> {
    return listSnapshots(() => this.#use(), filters, namespace);
  }

  /** Blocks on disk in bytes, and inodes, of what is this snapshot's alone. */
  async usage(key: string): Promise<DiskUsage> {
    const { store, paths } = await this.#use();
    const record = await existing(store, key);
    const recorded = record.kind === 'committed' ? record.usage : undefined;
    return recorded ?? diskUsage(paths.snapshot(record.id).path);
  }

  /** Erases what Remove put aside. */
  async cleanup(): Promise<void> {
    const context = await this.#context;
    await settle(context);
    // One that runs already may have looked into the trash before the latest removal.
    await this.#background.drain();
    await this.#background.run('erase trash', () => eraseTrash(context));
  }

  async extractTarget(mounts: readonly Mount[]): Promise<ExtractTarget> {
    return findExtractTarget(await this.#use(), mounts);
  }

  /** What may be read to compare the snapshots with these mounts. */
  async compareSides(request: CompareRequest): Promise<CompareSides> {
    return findCompareSides(await this.#use(), request);
  }

  /** Only closes: nothing that a guest may be using is touched. */
  async close(): Promise<void> {
    const context = this.#recovering ? await this.#context.catch(() => undefined) : undefined;
    await this.#background.drain();
    await context?.merged.drain();
    await context?.store.close();
    await this.#lock.release();
  }

  /** Every call begins here: what earlier ones could not put right is tried again meanwhile. */
  async #use(): Promise<Context> {
    const context = await this.#context;
    if (!context.unsettled.isEmpty) {
      void this.#background
        .run('settle', () => settle(context))
        .catch((error: unknown) => {
          context.log.error({ err: error }, 'could not look after what failed calls left');
        });
    }
    return context;
  }

  async #recover(): Promise<Context> {
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
    void this.#background
      .run('erase trash', () => eraseTrash(context))
      .catch((error: unknown) => {
        log.error({ err: error }, 'could not erase the trash');
      });
    return context;
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
