import { readdir, readFile, rename } from 'node:fs/promises';

import { isCode, CodedError } from '../errors.js';
import { removeTree, syncFolder } from '../host/index.js';
import { Slots } from '../jobs.js';
import type { Logger } from '../log.js';
import { MetadataStore, parseRecord, revisionOf, type SnapshotRecord } from '../metadata/index.js';
import { parseId, type RootPaths } from './paths.js';

/**
 * Opens the metadata below the root. A database that is damaged is moved aside and made again from the `snapshot.json` files; so
 * is one that is missing while snapshots are there, and one that lost records without a word, which keeps what the files do not have.
 */
export async function openMetadata(paths: RootPaths, log: Logger): Promise<MetadataStore> {
  const store = await openOrMoveAside(paths, log);
  const ids = await snapshotIds(paths);
  if (!store) return rebuilt(paths, recordsOnDisk(paths, log), log);
  if (store.created) {
    if (ids.length === 0) return store;
    await store.close();
    await removeTree(paths.metadata);
    return rebuilt(paths, recordsOnDisk(paths, log), log);
  }
  const records = await withWhatIsLost(paths, store, ids, log);
  if (!records) return store;
  await store.close();
  await moveAside(paths, log, 'the metadata lost what snapshot.json files still say');
  return rebuilt(paths, records, log);
}

async function rebuilt(
  paths: RootPaths,
  records: AsyncIterable<SnapshotRecord> | Iterable<SnapshotRecord>,
  log: Logger,
): Promise<MetadataStore> {
  await MetadataStore.rebuild(paths.metadata, records, log);
  return MetadataStore.open(paths.metadata, log);
}

async function openOrMoveAside(paths: RootPaths, log: Logger): Promise<MetadataStore | undefined> {
  try {
    return await MetadataStore.open(paths.metadata, log);
  } catch (error) {
    if (!isCode(error, 'data-loss')) throw error;
    await moveAside(paths, log, 'the metadata is damaged', error);
    return undefined;
  }
}

async function moveAside(paths: RootPaths, log: Logger, why: string, error?: unknown): Promise<void> {
  const aside = paths.corruptMetadata(new Date());
  log.error({ err: error, movedTo: aside }, `${why}: keeping it aside and rebuilding it from snapshot.json files`);
  await rename(paths.metadata, aside);
  await syncFolder(paths.root);
}

/**
 * Compares each snapshot.json with its record: LevelDB skips damaged parts of its log without a word, and may open as it was some
 * changes ago. A change reaches the file after the database, so a file that has seen more changes tells of a loss; a snapshot that the
 * database does not know at all is left to the recovery, unless another one, whose folder is gone, has its key.
 *
 * @returns all records as they should be, or undefined when nothing is lost
 */
async function withWhatIsLost(
  paths: RootPaths,
  store: MetadataStore,
  ids: readonly number[],
  log: Logger,
): Promise<readonly SnapshotRecord[] | undefined> {
  const known = new Map<number, SnapshotRecord>();
  const idsByKey = new Map<string, number>();
  for await (const record of store.all()) {
    known.set(record.id, record);
    idsByKey.set(record.key, record.id);
  }
  const present = new Set(ids);
  const lost: SnapshotRecord[] = [];
  const slots = new Slots(comparedAtOnce);
  const compare = async (id: number) => {
    // What is wrong with a file is the recovery's to tell.
    const { key, revision } = await glance(paths, id).catch(() => ({ key: '', revision: undefined }));
    const record = known.get(id);
    const owner = idsByKey.get(key);
    const isAhead = record && revisionOf({ revision }) > revisionOf(record);
    const isDisplaced = !record && owner !== undefined && owner < id && !present.has(owner);
    const file = isAhead || isDisplaced ? await readRecordFile(paths, id).catch(() => undefined) : undefined;
    if (file) lost.push(file);
  };
  await Promise.all(ids.map((id) => slots.run(() => compare(id))));
  if (lost.length === 0) return undefined;
  const keys = new Set(lost.map(({ key }) => key));
  log.error({ snapshots: lost.map(({ id, key }) => `${id} ${key}`).slice(0, 100) }, 'the metadata lost these records');
  for (const record of lost) known.set(record.id, record);
  return [...known.values()].filter(({ id, key }) => present.has(id) || !keys.has(key));
}

/** Key and revision alone: checking whole records would take most of a start. */
async function glance(paths: RootPaths, id: number): Promise<Pick<SnapshotRecord, 'key' | 'revision'>> {
  const parsed = JSON.parse(await readFile(paths.snapshot(id).record, 'utf8')) as Record<string, unknown>;
  const { key, revision } = parsed;
  return {
    key: typeof key === 'string' ? key : '',
    revision: Number.isSafeInteger(revision) ? (revision as number) : undefined,
  };
}

/** Files read at once: each is small. */
const comparedAtOnce = 16;

/** The ids of the snapshot folders that exist, in ascending order. */
export async function snapshotIds(paths: RootPaths): Promise<readonly number[]> {
  const ids = (await readdir(paths.snapshots)).map(parseId).filter((id) => id !== undefined);
  return ids.sort((left, right) => left - right);
}

/** @throws CodedError `data-loss` when there is no record in the folder, or it is not one of that folder */
export async function readRecordFile(paths: RootPaths, id: number): Promise<SnapshotRecord> {
  const file = paths.snapshot(id).record;
  const text = await readFile(file, 'utf8').catch((cause: unknown) => {
    throw new CodedError('data-loss', `${file} cannot be read`, { facts: { path: file }, cause });
  });
  const record = parseRecord(text, file);
  if (record.id === id) return record;
  throw new CodedError('data-loss', `${file} is the record of snapshot ${record.id}`, {
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
