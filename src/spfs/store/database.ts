import { randomUUID } from 'node:crypto';
import { rename, rm, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf, CodedError } from '../../errors.js';
import { asCodedError, syncFolder } from '../../host/index.js';
import {
  fromLevel,
  isLevelError,
  logFiles,
  openTables,
  parseCounters,
  recogniseDatabase,
  type Operation,
  type Recognised,
  type Tables,
} from '../../leveldb/index.js';

const tables = ['objects', 'tags', 'meta'] as const;

/**
 * The LevelDB of the companion.
 *
 * - `objects`: digest in base32 → the layer or platform as JSON
 * - `tags`: name + NUL + sequence, 16 digits → the entry as JSON (NUL cannot be part of a name)
 * - `meta`: `format` → version of this layout; `id` → what tells this store from others; `counters` → {@link Counters} as JSON
 */
export type Database = Tables<(typeof tables)[number]> & { readonly folder: string };

/**
 * Written with every change. The numbers of objects and of tag entries tell at the next open whether LevelDB lost a part of
 * its log without saying so; `commits` tells after a failed write whether that write took effect.
 */
export interface Counters {
  readonly objects: number;
  readonly entries: number;
  readonly commits: number;
}

const formatVersion = 1;
const formatKey = 'format';
const idKey = 'id';
const countersKey = 'counters';

export function putCounters({ meta }: Database, counters: Counters): Operation {
  return { type: 'put', sublevel: meta, key: countersKey, value: JSON.stringify(counters) };
}

/**
 * Opens the database in `folder`, which is made when it is absent, and checks that it is whole. The caller holds the lock.
 *
 * @throws CodedError `data-loss` when it is damaged; `failed-precondition` when a program that does not know the lock
 *   holds it, or a newer release wrote it; `resource-exhausted` when the disk is full
 */
export async function openDatabase(folder: string): Promise<{ database: Database; id: string; counters: Counters }> {
  if (!(await isFolder(folder))) await create(folder);
  const wasReplayed = await hasLog(folder);
  const database = await opened(folder, false);
  try {
    return { database, ...(await verified(database, wasReplayed)) };
  } catch (error) {
    await database.level.close();
    throw fromStore(error, folder);
  }
}

/**
 * Whether LevelDB has changes to replay. From a damaged log it takes what it can without saying so, and writes that into a table;
 * a table that is damaged or missing is an error of its own. So the keys need counting only when something was replayed.
 */
async function hasLog(folder: string): Promise<boolean> {
  const logs = await logFiles(folder);
  const sizes = await Promise.all(logs.map(async (name) => (await stat(join(folder, name))).size));
  return logs.length !== 1 || sizes.some((size) => size > 0);
}

/** Whether `folder` holds a database of this store, of whatever format version; nothing in it is changed. */
export function recogniseStore(folder: string): Promise<Recognised> {
  return recogniseDatabase(folder, [formatKey, idKey, countersKey]);
}

/** What a LevelDB error means here. Any other error passes through. */
export function fromStore(error: unknown, folder: string): unknown {
  if (!isLevelError(error)) return error;
  return fromLevel(error, folder, {
    locked: 'end the program that has it open',
    damaged: `move ${folder} away, then import and tag again`,
  });
}

/** Under a temporary name first: a database that a crash left half made would look like a damaged one. */
async function create(folder: string): Promise<void> {
  const unfinished = `${folder}.unfinished`;
  try {
    await rm(unfinished, { recursive: true, force: true });
    const database = await opened(unfinished, true);
    const format = { type: 'put', sublevel: database.meta, key: formatKey, value: String(formatVersion) } as const;
    const id = { type: 'put', sublevel: database.meta, key: idKey, value: randomUUID() } as const;
    const batch = [format, id, putCounters(database, { objects: 0, entries: 0, commits: 0 })];
    await database.level.batch(batch, { sync: true }).finally(() => database.level.close());
    await syncFolder(unfinished);
    await rename(unfinished, folder);
    await syncFolder(dirname(folder));
  } catch (error) {
    throw asCodedError(fromStore(error, folder), `making ${folder}`, folder);
  }
}

async function opened(folder: string, createIfMissing: boolean): Promise<Database> {
  try {
    return { folder, ...(await openTables(folder, tables, { createIfMissing })) };
  } catch (error) {
    throw fromStore(error, folder);
  }
}

async function isFolder(folder: string): Promise<boolean> {
  try {
    if ((await stat(folder)).isDirectory()) return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw asCodedError(error, `looking at ${folder}`, folder);
  }
  throw damaged(folder, 'it is not a folder');
}

async function verified(database: Database, wasReplayed: boolean): Promise<{ id: string; counters: Counters }> {
  const { folder, meta, objects, tags } = database;
  const [format, id, text] = await meta.getMany([formatKey, idKey, countersKey]);
  if (format !== undefined && Number(format) > formatVersion) {
    throw new CodedError('failed-precondition', `${folder} has format version ${format}`, {
      facts: { path: folder, version: format, newestKnown: formatVersion },
      next: `run a release that knows it (this one knows up to ${formatVersion}), see UPGRADING.md`,
    });
  }
  const counters = parseCounters(text, ['objects', 'entries', 'commits']);
  if (format !== String(formatVersion) || id === undefined || !counters)
    throw damaged(folder, 'its format version, id or counters are missing');
  if (!wasReplayed) return { id, counters };
  const [objectsLeft, entriesLeft] = [(await objects.keys().all()).length, (await tags.keys().all()).length];
  if (objectsLeft !== counters.objects) throw damaged(folder, `${objectsLeft} of ${counters.objects} objects are left`);
  if (entriesLeft !== counters.entries) {
    throw damaged(folder, `${entriesLeft} of ${counters.entries} tag entries are left`);
  }
  return { id, counters };
}

/** Whether a batch that failed is there all the same: a sync can fail after the append. */
export async function committed(folder: string, commits: number): Promise<boolean> {
  const { database, counters } = await openDatabase(folder);
  await database.level.close();
  return counters.commits === commits;
}

function damaged(folder: string, detail: string): CodedError {
  return new CodedError('data-loss', `${folder} is damaged: ${detail}`, {
    facts: { path: folder },
    next: `move ${folder} away, then import and tag again`,
  });
}
