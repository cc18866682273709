import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

import { verifyLayer } from '../erofs/index.js';
import { describeError } from '../errors.js';
import { listMounts, removeTree, temporaryPrefix, unmount } from '../host/index.js';
import { Slots } from '../jobs.js';
import { hasUnfinishedConversion, withdrawLayers } from '../layers/index.js';
import type { SnapshotRecord } from '../metadata/index.js';
import { reclaim } from './commit.js';
import type { Context } from './context.js';
import { exists } from './exists.js';
import { readRecordFile, snapshotIds } from './open-metadata.js';
import { parseId, type RootPaths, type SnapshotFolder } from './paths.js';
import { refreshRecordFile } from './records.js';
import { moveToTrash, trashedIds } from './trash.js';

type RecoveryContext = Pick<Context, 'paths' | 'store' | 'log'>;

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
  await unmountLeftovers(context);
  const [ids, trashed] = [await snapshotIds(paths), await trashedIds(context)];
  store.skipIds(Math.max(0, ...ids, ...trashed));
  const tally = { snapshots: 0, quarantined: 0, adopted: 0, finished: 0 };
  const known = new Set<number>();
  const present = new Set(ids);
  const slots = new Slots(examinedAtOnce);
  const examinations: Promise<void>[] = [];
  for await (const record of store.all()) {
    known.add(record.id);
    examinations.push(slots.run(() => examine(context, record, present, trashed, tally)));
  }
  await Promise.all(examinations);
  for (const id of ids) {
    if (!known.has(id)) await settleUnknown(context, id, tally);
  }
  await sweep(context, paths.snapshots);
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
  let fault: string | undefined;
  try {
    fault = present.has(record.id) ? await tidy(context, record, folder) : `its folder ${folder.path} is missing`;
  } catch (error) {
    fault = describeError(error);
  }
  if (fault !== undefined) {
    tally.quarantined += 1;
    log.error({ key: record.key, snapshot: record.id, fault }, 'this snapshot is quarantined');
  }
  if (fault === record.quarantine) return;
  const { quarantine: _before, ...sound } = record;
  const after = fault === undefined ? sound : { ...sound, quarantine: fault };
  await store.exclusive('quarantine', (tx) => tx.replace(after));
}

/** @returns what is wrong with the snapshot, or undefined when it is sound */
async function tidy(
  context: RecoveryContext,
  record: SnapshotRecord,
  folder: SnapshotFolder,
): Promise<string | undefined> {
  await sweep(context, folder.path);
  await refreshRecordFile(context, record);
  if (record.kind === 'committed') {
    const { layer } = record;
    if (!layer) return 'its record names no layer';
    const superblock = await verifyLayer(folder.layer(layer.file), layer.uuid);
    if (superblock.blocks !== layer.blocks)
      return `its layer has ${superblock.blocks} blocks instead of ${layer.blocks}`;
    await reclaim(context, folder);
    return undefined;
  }
  if (await hasUnfinishedConversion(folder.path)) await withdrawLayers(folder.path);
  const needed = record.role === 'container' ? folder.writable : folder.upper;
  return (await exists(needed)) ? undefined : `${basename(needed)} is missing`;
}

/** A folder without a record: a Prepare that was cut short, or a database older than the folder. */
async function settleUnknown(context: RecoveryContext, id: number, tally: Tally): Promise<void> {
  const { paths, store, log } = context;
  const folder = paths.snapshot(id);
  if (!(await exists(folder.record))) {
    if (await exists(folder.marker)) {
      await moveToTrash(context, id);
      tally.finished += 1;
    } else {
      log.warn({ path: folder.path }, 'this folder is not a snapshot of ours and is left alone');
    }
    return;
  }
  try {
    const record = await readRecordFile(paths, id);
    const fault = await tidy(context, record, folder);
    await store.exclusive('adopt', (tx) => tx.insert(fault === undefined ? record : { ...record, quarantine: fault }));
    log.warn({ key: record.key, snapshot: id }, 'adopted a snapshot that the database did not know');
    tally.adopted += 1;
    tally.snapshots += 1;
  } catch (error) {
    log.error(
      { err: error, path: folder.path },
      'this folder belongs to no snapshot and is kept: look at it and remove it by hand',
    );
  }
}

/** Only a commit mounts below the root, and no commit runs now. */
async function unmountLeftovers({ paths, log }: RecoveryContext): Promise<void> {
  for (const { target } of await listMounts()) {
    if (!isMountPointOfOurs(target, paths)) continue;
    try {
      await unmount(target);
      await removeTree(target);
    } catch (error) {
      log.warn({ err: error, target }, 'could not unmount what a commit that was cut short had mounted');
    }
  }
}

function isMountPointOfOurs(target: string, paths: RootPaths): boolean {
  const id = parseId(basename(dirname(target)));
  return id !== undefined && paths.snapshot(id).mountPoint === target;
}

async function sweep({ log }: Pick<Context, 'log'>, folder: string): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(temporaryPrefix)) continue;
    await removeTree(join(folder, name));
    log.debug({ folder, name }, 'swept an unfinished file');
  }
}
