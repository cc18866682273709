import { readdir, rmdir } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { describeError, errnoOf } from '../errors.js';
import { exists, removeTree, temporaryPrefix } from '../host/index.js';
import { Slots } from '../jobs.js';
import { checkLayer, settleLayer } from '../layers/index.js';
import { layerOf, quarantined, withoutQuarantine, type SnapshotRecord } from '../metadata/index.js';
import { reclaim } from './commit.js';
import type { Context } from './context.js';
import { releaseLeftovers } from './leftovers.js';
import { readRecordFile, snapshotIds } from './open-metadata.js';
import { mark } from './ownership.js';
import type { SnapshotFolder } from './paths.js';
import { refreshRecordFile } from './records.js';
import { moveToTrash, trashedIds } from './trash.js';

type RecoveryContext = Pick<Context, 'paths' | 'store' | 'layers' | 'log'>;

/** Snapshots examined at once: each costs a few small reads. */
const examinedAtOnce = 16;

export interface RecoveryReport {
  readonly snapshots: number;
  readonly quarantined: number;
  /** Folders that had a whole record of their own but none in the database. */
  readonly adopted: number;
  /** Removals and preparations that a crash had cut short. */
  readonly finished: number;
}

/**
 * Brings the folders and the records into agreement after whatever ended the last process. The database decides, except that a
 * folder which it does not know is never erased while it says by itself what it is. One bad snapshot never stops the start.
 */
export async function recover(context: RecoveryContext): Promise<RecoveryReport> {
  const { paths, store } = context;
  await releaseLeftovers(context);
  const [ids, trashed] = [await snapshotIds(paths), await trashedIds(context)];
  for (const id of [...ids, ...trashed]) store.skipIds(id);
  const tally = { snapshots: 0, quarantined: 0, adopted: 0, finished: 0 };
  const known = new Set<number>();
  const present = new Set(ids);
  const slots = new Slots(examinedAtOnce);
  const examinations: Promise<void>[] = [];
  for await (const record of store.all()) {
    known.add(record.id);
    const examination = slots.run(() => examine(context, record, present, trashed, tally));
    examination.catch(() => undefined); // heard below, and until then no bug that ends the process
    examinations.push(examination);
  }
  await Promise.all(examinations);
  await settleUnknowns(
    context,
    ids.filter((id) => !known.has(id)),
    tally,
  );
  await sweep(context, paths.snapshots);
  await sweep(context, paths.aheads);
  return tally;
}

type Tally = { -readonly [Field in keyof RecoveryReport]: number };

async function examine(
  context: RecoveryContext,
  record: SnapshotRecord,
  present: ReadonlySet<number>,
  trashed: ReadonlySet<number>,
  tally: Tally,
): Promise<void> {
  const { store, log, paths } = context;
  if (!present.has(record.id) && trashed.has(record.id)) {
    await store.exclusive('finish a removal', (tx) => tx.delete(record.key));
    log.info({ key: record.key }, 'finished a removal that was cut short');
    tally.finished += 1;
    return;
  }
  tally.snapshots += 1;
  const folder = paths.snapshot(record.id);
  const after = await examined(context, record, folder, present);
  const { quarantine: fault } = after;
  if (fault !== undefined) {
    tally.quarantined += 1;
    log.error({ key: record.key, snapshot: record.id, fault }, 'this snapshot is quarantined');
  }
  if (fault === record.quarantine) return;
  try {
    await store.exclusive('quarantine', (tx) => tx.replace(after));
  } catch (error) {
    // A full disk must not keep the sound snapshots from being served; the next start looks again.
    log.error({ err: error, key: record.key }, 'could not record whether this snapshot is quarantined');
  }
}

async function examined(
  context: RecoveryContext,
  record: SnapshotRecord,
  folder: SnapshotFolder,
  present: ReadonlySet<number>,
): Promise<SnapshotRecord> {
  if (!present.has(record.id)) return quarantined(record, `its folder ${folder.path} is missing`);
  try {
    return await tidy(context, record, folder);
  } catch (error) {
    return quarantined(record, describeError(error));
  }
}

/** @returns the record as it should be: quarantined when something is wrong with the snapshot */
async function tidy(context: RecoveryContext, record: SnapshotRecord, folder: SnapshotFolder): Promise<SnapshotRecord> {
  await sweep(context, folder.path);
  await removeMountPoint(folder);
  // Releases before the marker made folders without it.
  await mark(folder.ownMarker).catch((error: unknown) => {
    context.log.warn({ err: error, snapshot: record.id }, 'could not mark the folder of this snapshot');
  });
  await refreshRecordFile(context, record).catch((error: unknown) => {
    // The database has the record: a copy that cannot be written now is no reason to refuse the snapshot.
    context.log.warn({ err: error, snapshot: record.id }, 'could not write snapshot.json again');
  });
  if (record.parent !== '' && (await context.store.get(record.parent))?.kind !== 'committed') {
    return quarantined(record, `its parent ${JSON.stringify(record.parent)} is missing`);
  }
  if (record.kind !== 'committed') await settleLayer(folder.path, layerOf(record));
  const sound = withoutQuarantine(record);
  if (sound.quarantine !== undefined) return sound;
  if (sound.kind === 'committed') {
    const { layer } = sound;
    await checkLayer(folder.layer(layer.file), layer);
    context.layers.add({ id: sound.id, layer, namespace: sound.namespace });
    await reclaim(context, folder);
    return sound;
  }
  const needed = sound.role === 'container' ? folder.writable : folder.upper;
  return (await exists(needed)) ? sound : quarantined(sound, `${basename(needed)} is missing`);
}

/** A mount point of a read that was cut short. One that is in use, or is not empty, stays and does no harm. */
async function removeMountPoint({ mountPoint }: SnapshotFolder): Promise<void> {
  await rmdir(mountPoint).catch(() => undefined);
}

/** Folders without a record in the database: a Prepare that was cut short, or a database older than the folder. */
async function settleUnknowns(context: RecoveryContext, ids: readonly number[], tally: Tally): Promise<void> {
  const { paths, log } = context;
  const records: SnapshotRecord[] = [];
  for (const id of ids) {
    const folder = paths.snapshot(id);
    try {
      if (await exists(folder.record)) records.push(await readRecordFile(paths, id));
      else if (await abandoned(context, folder)) tally.finished += 1;
      else
        log.warn(
          { path: folder.path },
          'this folder is not surely ours, and is kept: remove it by hand when it is of no use',
        );
    } catch (error) {
      log.error({ err: error, path: folder.path }, kept);
    }
  }
  for (const record of parentsFirst(records)) await adopt(context, record, tally);
}

const kept = 'this folder belongs to no snapshot and is kept: look at it and remove it by hand';

/** Puts away what a Prepare left that ended before its record was written: marked as ours, or not even that, and then empty. */
async function abandoned(context: RecoveryContext, folder: SnapshotFolder): Promise<boolean> {
  if (await exists(folder.ownMarker)) {
    await moveToTrash(context, folder.id);
    return true;
  }
  try {
    await rmdir(folder.path);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOTEMPTY' || errnoOf(error) === 'ENOTDIR') return false;
    throw error;
  }
}

async function adopt(context: RecoveryContext, record: SnapshotRecord, tally: Tally): Promise<void> {
  const { paths, store, log } = context;
  const folder = paths.snapshot(record.id);
  try {
    const after = await tidy(context, record, folder);
    await store.exclusive('adopt', (tx) => tx.insert(after));
    log.warn({ key: record.key, snapshot: record.id }, 'adopted a snapshot that the database did not know');
    tally.adopted += 1;
    tally.snapshots += 1;
  } catch (error) {
    log.error({ err: error, path: folder.path }, kept);
  }
}

/** A parent that was named only at Commit may have a greater id than its child, so ids do not tell the order. */
function parentsFirst(records: readonly SnapshotRecord[]): readonly SnapshotRecord[] {
  const waiting = new Map(records.map((record) => [record.key, record]));
  const ordered: SnapshotRecord[] = [];
  for (const record of records) {
    const line: SnapshotRecord[] = [];
    for (let next = waiting.get(record.key); next; next = waiting.get(next.parent)) {
      waiting.delete(next.key);
      line.unshift(next);
    }
    ordered.push(...line);
  }
  return ordered;
}

/** What cannot be erased now (still mounted, say) stays for the next start: nothing trusts it. */
async function sweep({ log }: Pick<Context, 'log'>, folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    try {
      await removeTree(join(folder, name));
      log.debug({ folder, name }, 'swept an unfinished file');
    } catch (error) {
      log.warn({ err: error, folder, name }, 'could not erase an unfinished file');
    }
  }
}
