import { expect, test } from 'vitest';
import { MetadataStore, type SnapshotRecord } from '../../src/metadata/index.js';
import { collect, freshFolder, insert, log, openStore, recordOf } from './support.js';

async function* streamOf(records: readonly SnapshotRecord[]): AsyncGenerator<SnapshotRecord> {
  for (const record of records) yield await Promise.resolve(record);
}

const older = '2026-01-01T00:00:00.000Z';
const newer = '2026-01-01T00:00:01.000Z';

test('the same records come back, with their indexes, and ids go on after the highest', async () => {
  const folder = await freshFolder();
  const records = Array.from({ length: 1200 }, (_, at) =>
    recordOf({ id: at + 1, key: `k${at}`, kind: 'committed', parent: at % 10 === 0 ? '' : `k${at - 1}` }),
  );
  const report = await MetadataStore.rebuild(folder, streamOf(records.toReversed()), log);
  expect(report).toEqual({ kept: 1200, nextId: 1201, duplicates: [], orphans: [] });
  const store = await openStore(folder);
  expect((await collect(store.all())).sort((left, right) => left.id - right.id)).toEqual(records);
  expect(await store.children('k5')).toEqual(['k6']);
  expect((await store.chain('k9')).length).toBe(10);
  expect((await insert(store, { key: 'new' })).id).toBe(1201);
});

test('of two records with one key or one id the later one is kept and the other reported, in any order', async () => {
  const records = [
    recordOf({ id: 1, key: 'key', updatedAt: older }),
    recordOf({ id: 2, key: 'key', updatedAt: newer }),
    recordOf({ id: 3, key: 'active', updatedAt: older }),
    recordOf({ id: 3, key: 'committed', kind: 'committed', updatedAt: newer }),
  ];
  for (const order of [records, records.toReversed()]) {
    const folder = await freshFolder();
    const report = await MetadataStore.rebuild(folder, streamOf(order), log);
    expect(report.kept).toBe(2);
    expect(report.duplicates.toSorted((left, right) => left.id - right.id)).toEqual([
      { id: 1, key: 'key', keptId: 2 },
      { id: 3, key: 'active', keptId: 3 },
    ]);
    const store = await openStore(folder);
    expect((await collect(store.all())).map(({ id, key }) => [id, key])).toEqual([
      [3, 'committed'],
      [2, 'key'],
    ]);
  }
});

test('orphans, children of what is not committed, and circles are kept in quarantine', async () => {
  const folder = await freshFolder();
  const records = [
    recordOf({ id: 1, key: 'good', kind: 'committed' }),
    recordOf({ id: 2, key: 'orphan', parent: 'lost' }),
    recordOf({ id: 3, key: 'grandchild', parent: 'good', kind: 'active' }),
    recordOf({ id: 4, key: 'on-active', parent: 'grandchild' }),
    recordOf({ id: 5, key: 'round', kind: 'committed', parent: 'about' }),
    recordOf({ id: 6, key: 'about', kind: 'committed', parent: 'round' }),
    recordOf({ id: 7, key: 'beside', parent: 'about' }),
  ];
  const report = await MetadataStore.rebuild(folder, streamOf(records), log);
  expect(report.orphans.map(({ key }) => key)).toEqual(['orphan', 'on-active', 'round', 'about']);
  const store = await openStore(folder);
  expect(await store.count()).toBe(7);
  const reasons = Object.fromEntries((await collect(store.all())).map(({ key, quarantine }) => [key, quarantine]));
  expect(reasons).toEqual({
    good: undefined,
    grandchild: undefined,
    beside: undefined,
    orphan: 'its parent "lost" is missing',
    'on-active': 'its parent "grandchild" is not committed',
    round: 'it is its own ancestor',
    about: 'it is its own ancestor',
  });
  await store.exclusive('removal', (tx) => tx.delete('orphan'));
});

test('no records make an empty database', async () => {
  const folder = await freshFolder();
  expect((await MetadataStore.rebuild(folder, streamOf([]), log)).nextId).toBe(1);
  expect((await openStore(folder)).created).toBe(false);
});

test('a database in the way is left alone', async () => {
  const folder = await freshFolder();
  const store = await MetadataStore.open(folder, log);
  await insert(store, { key: 'precious' });
  await store.close();
  const rebuilding = MetadataStore.rebuild(folder, streamOf([]), log);
  await expect(rebuilding).rejects.toEqual(expect.objectContaining({ code: 'failed-precondition' }));
  expect(await (await openStore(folder)).count()).toBe(1);
});

test('a source that fails leaves nothing behind', async () => {
  const folder = await freshFolder();
  async function* failing(): AsyncGenerator<SnapshotRecord> {
    yield await Promise.resolve(recordOf({ id: 1, key: 'a' }));
    throw new Error('unreadable');
  }
  await expect(MetadataStore.rebuild(folder, failing(), log)).rejects.toThrow('unreadable');
  expect((await openStore(folder)).created).toBe(true);
});
