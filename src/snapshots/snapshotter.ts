import { diskUsage, wallClock, type DiskUsage, type Lock } from '../host/index.js';
import { Jobs } from '../jobs.js';
import type { CompareSides, ExtractTarget } from '../layers/index.js';
import { checkLabels } from '../metadata/index.js';
import { isoOf } from '../timestamps.js';
import type { Labels, Mount } from '../vocabulary.js';
import { commitSnapshot, type CommitRequest } from './commit.js';
import { findCompareSides, type CompareRequest } from './compare/routes.js';
import type { Context } from './context.js';
import { createSnapshot } from './create.js';
import { findExtractTarget } from './extract-target.js';
import { infoOf, listSnapshots, type SnapshotInfo } from './list.js';
import { mountsOf } from './mounts.js';
import { existing, writeRecordFileWith } from './records.js';
import { removeSnapshot } from './remove.js';
import { roleOfPrepare, updatedLabels, type CreateRequest } from './requests.js';
import { settle } from './settle.js';
import { eraseTrash } from './trash.js';

/**
 * containerd's snapshotter contract on top of folders and records that agree: `Root.recover` gives it. Every method throws
 * CodedError with the codes of docs/mounts.md.
 */
export class Snapshotter {
  readonly #context: Context;
  readonly #background = new Jobs<unknown>();
  readonly #lock: Lock;

  /** @param lock of the root, which is released at the end */
  constructor(context: Context, lock: Lock) {
    this.#context = context;
    this.#lock = lock;
    void this.#background
      .run('erase trash', () => eraseTrash(context))
      .catch((error: unknown) => {
        context.log.error({ err: error }, 'could not erase the trash');
      });
  }

  /** @throws CodedError `already-exists` as well for a layer that is here, when the labels name one */
  async prepare(request: CreateRequest): Promise<readonly Mount[]> {
    return createSnapshot(this.#use(), roleOfPrepare(request.key), request);
  }

  async view(request: CreateRequest): Promise<readonly Mount[]> {
    return createSnapshot(this.#use(), 'view', request);
  }

  async mounts(key: string): Promise<readonly Mount[]> {
    return mountsOf(this.#use(), key);
  }

  async commit(request: CommitRequest): Promise<void> {
    await commitSnapshot(this.#use(), request);
  }

  async remove(key: string): Promise<void> {
    await removeSnapshot(this.#use(), key);
  }

  async stat(key: string): Promise<SnapshotInfo> {
    const { store } = this.#use();
    return infoOf(await existing(store, key));
  }

  /** Changes labels, by the field mask `paths`; see {@link updatedLabels}. */
  async update(
    info: { readonly name: string; readonly labels: Labels },
    paths: readonly string[],
  ): Promise<SnapshotInfo> {
    const context = this.#use();
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
   * @throws CodedError `invalid-argument` for a filter that cannot be parsed, before the first one is given
   */
  list(filters: readonly string[], namespace?: string): AsyncIterable<SnapshotInfo> {
    return listSnapshots(this.#use(), filters, namespace);
  }

  /** Blocks on disk in bytes, and inodes, of what is this snapshot's alone. */
  async usage(key: string): Promise<DiskUsage> {
    const { store, paths } = this.#use();
    const record = await existing(store, key);
    const recorded = record.kind === 'committed' ? record.usage : undefined;
    return recorded ?? diskUsage(paths.snapshot(record.id).path);
  }

  /** Erases what Remove put aside. */
  async cleanup(): Promise<void> {
    const context = this.#context;
    await settle(context);
    // One that runs already may have looked into the trash before the latest removal.
    await this.#background.drain();
    await this.#background.run('erase trash', () => eraseTrash(context));
  }

  async extractTarget(mounts: readonly Mount[]): Promise<ExtractTarget> {
    return findExtractTarget(this.#use(), mounts);
  }

  /** What may be read to compare the snapshots with these mounts. */
  async compareSides(request: CompareRequest): Promise<CompareSides> {
    return findCompareSides(this.#use(), request);
  }

  /** Only closes: nothing that a guest may be using is touched. */
  async close(): Promise<void> {
    await this.#background.drain();
    await this.#context.merged.drain();
    await this.#context.store.close();
    await this.#lock.release();
  }

  /** Every call begins here: what earlier ones could not put right is tried again meanwhile. */
  #use(): Context {
    const context = this.#context;
    if (!context.unsettled.isEmpty) {
      void this.#background
        .run('settle', () => settle(context))
        .catch((error: unknown) => {
          context.log.error({ err: error }, 'could not look after what failed calls left');
        });
    }
    return context;
  }
}
