import { readdir, readFile, rename } from 'node:fs/promises';

import { isCode, SnapshotterError } from '../errors.js';
import { removeTree, syncFolder } from '../host/index.js';
import type { Logger } from '../log.js';
import { MetadataStore, parseRecord, type SnapshotRecord } from '../metadata/index.js';
import { parseId, type RootPaths } from './paths.js';

/**
 * Opens the metadata below the root. A database that is damaged is moved aside and made again from the `snapshot.json` files; so
 * is one that is missing while snapshots are there.
 */
export async function openMetadata(paths: RootPaths, log: Logger): Promise<MetadataStore> {
  const store = await openOrMoveAside(paths, log);
  if (store && !(store.created && (await snapshotIds(paths)).length > 0)) return store;
  if (store) {
    await store.close();
    await removeTree(paths.metadata);
  }
  await MetadataStore.rebuild(paths.metadata, recordsOnDisk(paths, log), log);
  return MetadataStore.open(paths.metadata, log);
}

async function openOrMoveAside(paths: RootPaths, log: Logger): Promise<MetadataStore | undefined> {
  try {
    return await MetadataStore.open(paths.metadata, log);
  } catch (error) {
    if (!isCode(error, 'data-loss')) throw error;
    const aside = paths.corruptMetadata(new Date());
    log.error(
      { err: error, movedTo: aside },
      'the metadata is damaged: keeping it aside and rebuilding it from snapshot.json files',
    );
    await rename(paths.metadata, aside);
    await syncFolder(paths.root);
    return undefined;
  }
}

/** The ids of the snapshot folders that exist, in ascending order. */
export async function snapshotIds(paths: RootPaths): Promise<readonly number[]> {
  const ids = (await readdir(paths.snapshots)).map(parseId).filter((id) => id !== undefined);
  return ids.sort((left, right) => left - right);
}

/** @throws SnapshotterError `data-loss` when there is no record in the folder, or it is not one of that folder */
export async function readRecordFile(paths: RootPaths, id: number): Promise<SnapshotRecord> {
  const file = paths.snapshot(id).record;
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new SnapshotterError('data-loss', `${file} cannot be read`, { facts: { path: file }, cause });
  });
  const record = parseRecord(text, file);
  if (record.id === id) return record;
  throw new SnapshotterError('data-loss', `${file} is the record of snapshot ${record.id}`, {
    facts: { path: file, id: record.id },
    next: 'move the folder back to where its record says',
  });
}

async function* recordsOnDisk(paths: RootPaths, log: Logger): AsyncIterable<SnapshotRecord> {
  for (const id of await snapshotIds(paths)) {
    try {
      yield await readRecordFile(paths, id);
    } catch (error) {
      log.error({ err: error, snapshot: id }, 'this snapshot cannot be rebuilt: its record is unreadable');
    }
  }
}
