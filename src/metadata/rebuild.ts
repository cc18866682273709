import { CodedError } from '../errors.js';
import type { Logger } from '../log.js';
import { nanosecondsOf } from '../timestamps.js';
import type { Operation } from '../leveldb/index.js';
import {
  childKey,
  countersKey,
  formatKey,
  formatVersion,
  fromLevel,
  idKey,
  openDatabase,
  type Counters,
  type Database,
} from './database.js';
import { quarantined, type SnapshotRecord } from './record.js';
import { serializeRecord } from './stored-record.js';

/** Records a batch: bounds the memory of a batch, not the number of snapshots. */
const batchSize = 500;

export interface RebuildReport {
  /** Records in the new database, quarantined ones included. */
  readonly kept: number;
  readonly nextId: number;
  /** Records left out because a later record (by `updatedAt`) has the same key or id. */
  readonly duplicates: readonly { readonly id: number; readonly key: string; readonly keptId: number }[];
  /** Records kept but quarantined: their parent is missing or not committed, or they are their own ancestor. */
  readonly orphans: readonly { readonly id: number; readonly key: string; readonly parent: string }[];
}

/** The work of `MetadataStore.rebuild`. All records are held in memory, about 1 kB each. */
export async function rebuildDatabase(
  folder: string,
  records: AsyncIterable<SnapshotRecord> | Iterable<SnapshotRecord>,
  log: Logger,
): Promise<RebuildReport> {
  const { byKey, duplicates, highestId } = await choose(records);
  const orphans = quarantineOrphans(byKey);
  const { database, created } = await openDatabase(folder);
  try {
    if (!created) {
      throw new CodedError('failed-precondition', `${folder} already holds a database`, {
        facts: { path: folder },
        next: 'move it away before rebuilding',
      });
    }
    const nextId = highestId + 1;
    await write(database, [...byKey.values()], { nextId, snapshots: byKey.size, commits: 0 });
    const report = { kept: byKey.size, nextId, duplicates, orphans };
    log.warn({ path: folder, ...report }, 'the metadata was rebuilt from the snapshot.json files');
    return report;
  } catch (error) {
    throw fromLevel(error, folder);
  } finally {
    await database.level.close();
  }
}

async function choose(records: AsyncIterable<SnapshotRecord> | Iterable<SnapshotRecord>) {
  const byKey = new Map<string, SnapshotRecord>();
  const byId = new Map<number, SnapshotRecord>();
  const duplicates: { id: number; key: string; keptId: number }[] = [];
  let highestId = 0;
  for await (const record of records) {
    highestId = Math.max(highestId, record.id);
    const rivals = new Set([byKey.get(record.key), byId.get(record.id)].filter((rival) => rival !== undefined));
    const winner = [...rivals].find((rival) => nanosecondsOf(rival.updatedAt) >= nanosecondsOf(record.updatedAt));
    if (winner) {
      duplicates.push({ id: record.id, key: record.key, keptId: winner.id });
      continue;
    }
    for (const rival of rivals) {
      byKey.delete(rival.key);
      byId.delete(rival.id);
      duplicates.push({ id: rival.id, key: rival.key, keptId: record.id });
    }
    byKey.set(record.key, record);
    byId.set(record.id, record);
  }
  return { byKey, duplicates, highestId };
}

function quarantineOrphans(byKey: Map<string, SnapshotRecord>): { id: number; key: string; parent: string }[] {
  const orphans: { id: number; key: string; parent: string }[] = [];
  for (const record of [...byKey.values()]) {
    const reason = orphanReason(record, byKey);
    if (reason === undefined) continue;
    orphans.push({ id: record.id, key: record.key, parent: record.parent });
    byKey.set(record.key, quarantined(record, record.quarantine ?? reason));
  }
  return orphans;
}

function orphanReason(record: SnapshotRecord, byKey: ReadonlyMap<string, SnapshotRecord>): string | undefined {
  if (record.parent === '') return undefined;
  const parent = byKey.get(record.parent);
  if (!parent) return `its parent ${JSON.stringify(record.parent)} is missing`;
  if (parent.kind !== 'committed') return `its parent ${JSON.stringify(record.parent)} is not committed`;
  const seen = new Set<string>();
  for (let next = byKey.get(record.parent); next && !seen.has(next.key); next = byKey.get(next.parent)) {
    if (next.key === record.key) return 'it is its own ancestor';
    seen.add(next.key);
  }
  return undefined;
}

/** The format version goes in last, by itself: without it `open` refuses the database. */
async function write(
  { level, ...to }: Database,
  records: readonly SnapshotRecord[],
  counters: Counters,
): Promise<void> {
  for (let start = 0; start < records.length; start += batchSize) {
    const operations = records
      .slice(start, start + batchSize)
      .flatMap((record): Operation[] => [
        { type: 'put', sublevel: to.snapshots, key: record.key, value: serializeRecord(record) },
        { type: 'put', sublevel: to.ids, key: idKey(record.id), value: record.key },
        ...(record.parent === ''
          ? []
          : [{ type: 'put', sublevel: to.children, key: childKey(record.parent, record.key), value: '' } as const]),
      ]);
    await level.batch(operations, { sync: true });
  }
  await level.batch(
    [
      { type: 'put', sublevel: to.meta, key: countersKey, value: JSON.stringify(counters) },
      { type: 'put', sublevel: to.meta, key: formatKey, value: String(formatVersion) },
    ],
    { sync: true },
  );
}
