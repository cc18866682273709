import { CodedError } from '../errors.js';
import { type Table } from '../leveldb/index.js';
import {
  childKey,
  countersKey,
  formatKey,
  formatVersion,
  idKey,
  countersOf,
  type Counters,
  type Database,
} from './database.js';
import { abridged } from './keys.js';
import type { SnapshotRecord } from './record.js';
import { parseRecord } from './stored-record.js';

/** Records checked in one go: bounds the memory, whatever their number. */
const readAtOnce = 500;

/**
 * Reads the whole database once: every record, both indexes, the counters. LevelDB skips damaged parts of its log
 * without a word, so that it opened proves nothing.
 *
 * @param seen is shown every record
 * @throws CodedError `data-loss` naming what does not fit; `failed-precondition` for a newer format
 */
export async function verifyDatabase(
  database: Database,
  folder: string,
  seen: (record: SnapshotRecord) => void,
): Promise<Counters> {
  const counters = await readCounters(database, folder);
  const iterator = database.snapshots.iterator();
  let records = 0;
  let parented = 0;
  try {
    for (let some = await iterator.nextv(readAtOnce); some.length > 0; some = await iterator.nextv(readAtOnce)) {
      const parsed = some.map(([key, text]) => checkRecord(key, text, counters, folder));
      await checkIndexes(database, parsed, folder);
      parsed.forEach(seen);
      records += parsed.length;
      parented += parsed.filter(({ parent }) => parent !== '').length;
    }
  } finally {
    await iterator.close();
  }
  if (records !== counters.snapshots) throw damaged(folder, `${records} records of ${counters.snapshots} are left`);
  if ((await count(database.ids)) !== records) throw damaged(folder, 'the index of ids has too many entries');
  if ((await count(database.children)) !== parented)
    throw damaged(folder, 'the index of children has too many entries');
  return counters;
}

function checkRecord(key: string, text: string, counters: Counters, folder: string): SnapshotRecord {
  const record = parseRecord(text, abridged(key));
  if (record.key !== key) throw damaged(folder, `the record at ${abridged(key)} names itself ${abridged(record.key)}`);
  if (record.id >= counters.nextId) throw damaged(folder, `id ${record.id} was never given out`);
  return record;
}

async function checkIndexes(database: Database, records: readonly SnapshotRecord[], folder: string): Promise<void> {
  const keys = await database.ids.getMany(records.map(({ id }) => idKey(id)));
  for (const [index, { id, key }] of records.entries()) {
    if (keys[index] !== key) throw damaged(folder, `the index has no id ${id}`);
  }
  const children = records.filter(({ parent }) => parent !== '');
  const entries = await database.children.getMany(children.map(({ parent, key }) => childKey(parent, key)));
  for (const [index, { key }] of children.entries()) {
    if (entries[index] === undefined) throw damaged(folder, `the index has no child ${abridged(key)}`);
  }
}

async function readCounters(database: Database, folder: string): Promise<Counters> {
  const [format, text] = await database.meta.getMany([formatKey, countersKey]);
  if (format !== undefined && Number(format) > formatVersion) {
    throw new CodedError('failed-precondition', `${folder} has format version ${format}`, {
      facts: { path: folder, version: format, newestKnown: formatVersion },
      next: `run a release that knows it (this one knows up to ${formatVersion}), see UPGRADING.md`,
    });
  }
  const counters = countersOf(text);
  if (format !== String(formatVersion) || !counters)
    throw damaged(folder, 'its format version or counters are missing');
  return counters;
}

async function count(sublevel: Table): Promise<number> {
  let entries = 0;
  for await (const key of sublevel.keys()) entries += key === '' ? 0 : 1;
  return entries;
}

function damaged(folder: string, detail: string): CodedError {
  return new CodedError('data-loss', `${folder} is damaged: ${detail}`, {
    facts: { path: folder },
    next: 'restart the daemon: it moves the database aside and rebuilds it from the snapshot.json files',
  });
}
