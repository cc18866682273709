import { readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { MetadataStore } from '../../src/metadata/index.js';
import { coded, collect, freshFolder, insert, insertChain, log, openStore } from './support.js';

/** A closed database of 300 records; `tables`: opened once more, which moves the log into tables. */
async function closedDatabase(tables: boolean): Promise<string> {
  const folder = await freshFolder();
  const store = await MetadataStore.open(folder, log);
  for (let chain = 0; chain < 30; chain += 1) await insertChain(store, 10, `chain-${chain}-`);
  await store.close();
  if (tables) await (await MetadataStore.open(folder, log)).close();
  return folder;
}

async function fileLike(folder: string, pattern: RegExp): Promise<string> {
  const name = (await readdir(folder)).sort().findLast((candidate) => pattern.test(candidate));
  expect(name, `a file like ${pattern}`).toBeDefined();
  return join(folder, name ?? '');
}

const truncated = (bytes: Buffer) => bytes.subarray(0, bytes.length / 2);
const emptied = () => Buffer.alloc(0);
const garbage = (bytes: Buffer) => Buffer.alloc(bytes.length, 'garbage');
const scratched = (bytes: Buffer) => Buffer.concat([bytes.subarray(0, 3000), Buffer.alloc(500), bytes.subarray(3500)]);

describe('a damaged database is data-loss, never a smaller database', () => {
  test.each([
    ['CURRENT emptied', false, /^CURRENT$/, emptied],
    ['CURRENT garbage', false, /^CURRENT$/, garbage],
    ['MANIFEST truncated', true, /^MANIFEST/, truncated],
    ['MANIFEST garbage', true, /^MANIFEST/, garbage],
    ['log emptied', false, /\.log$/, emptied],
    ['log garbage', false, /\.log$/, garbage],
    ['log scratched', false, /\.log$/, scratched],
    ['table emptied', true, /\.ldb$/, emptied],
    ['table truncated', true, /\.ldb$/, truncated],
    ['table garbage', true, /\.ldb$/, garbage],
    ['table scratched', true, /\.ldb$/, scratched],
  ])('%s', async (_what, tables, pattern, damage) => {
    const folder = await closedDatabase(tables);
    const file = await fileLike(folder, pattern);
    await writeFile(file, damage(await readFile(file)));
    await expect(MetadataStore.open(folder, log)).rejects.toEqual(coded('data-loss'));
  });

  test.each([
    ['CURRENT', false, /^CURRENT$/],
    ['MANIFEST', true, /^MANIFEST/],
    ['table', true, /\.ldb$/],
  ])('%s deleted', async (_what, tables, pattern) => {
    const folder = await closedDatabase(tables);
    await rm(await fileLike(folder, pattern));
    await expect(MetadataStore.open(folder, log)).rejects.toEqual(coded('data-loss'));
  });

  test('a file in the place of the folder', async () => {
    const folder = await freshFolder();
    await writeFile(folder, 'not a database');
    await expect(MetadataStore.open(folder, log)).rejects.toEqual(coded('data-loss'));
  });
});

describe('a database that contradicts itself is data-loss', () => {
  type Tamper = (level: Level, record: Record<string, unknown>) => Promise<void>;
  const put = (level: Level, record: Record<string, unknown>) =>
    level.sublevel('snapshots').put('layer-2', JSON.stringify(record));
  const tampers: [string, Tamper][] = [
    ['a record is gone', (level) => level.sublevel('snapshots').del('layer-2')],
    ['a record is not JSON', (level) => level.sublevel('snapshots').put('layer-2', '{')],
    ['a record has an unknown field', (level, record) => put(level, { ...record, colour: 'red' })],
    ['a record is at another key', (level, record) => put(level, { ...record, key: 'layer-9' })],
    ['the index of ids is incomplete', (level) => level.sublevel('ids').del('0000000000000002')],
    ['the index of ids has too much', (level) => level.sublevel('ids').put('0000000000000009', 'layer-9')],
    ['the index of children is incomplete', (level) => level.sublevel('children').del('layer-1\0layer-2')],
    ['the index of children has too much', (level) => level.sublevel('children').put('layer-2\0x', '')],
    [
      'an id was never given out',
      (level) => level.sublevel('meta').put('counters', '{"nextId":2,"snapshots":2,"commits":1}'),
    ],
    ['the counters are gone', (level) => level.sublevel('meta').del('counters')],
    ['the format version is gone', (level) => level.sublevel('meta').del('format')],
  ];
  test.each(tampers)('%s', async (_what, tamper) => {
    const folder = await freshFolder();
    const store = await MetadataStore.open(folder, log);
    await insertChain(store, 2);
    await store.close();
    const level = new Level(folder);
    const record = JSON.parse((await level.sublevel('snapshots').get('layer-2')) ?? '') as Record<string, unknown>;
    await tamper(level, record);
    await level.close();
    await expect(MetadataStore.open(folder, log)).rejects.toEqual(coded('data-loss'));
  });

  test('a circle or a gap in a chain is named, not walked for ever', async () => {
    const folder = await freshFolder();
    const store = await MetadataStore.open(folder, log);
    await insertChain(store, 3);
    await insertChain(store, 3, 'gap-');
    const first = (await store.get('layer-1'))!;
    await store.exclusive('circle', (tx) => tx.replace({ ...first, parent: 'layer-3' }));
    await expect(store.chain('layer-3')).rejects.toThrow(/"layer-3" of "layer-1" is its own ancestor/);
    await store.close();
    const level = new Level(folder);
    await level.sublevel('snapshots').del('gap-1');
    await level.sublevel('ids').del('0000000000000004');
    await level.sublevel('meta').put('counters', '{"nextId":7,"snapshots":5,"commits":9}');
    await level.close();
    const again = await openStore(folder);
    await expect(again.chain('gap-3')).rejects.toEqual(coded('data-loss'));
    await expect(again.chain('gap-3')).rejects.toThrow(/the parent "gap-1" of "gap-2" is missing/);
  });
});

test('a newer format is refused with what to do, and is not data-loss', async () => {
  const folder = await freshFolder();
  await (await MetadataStore.open(folder, log)).close();
  const level = new Level(folder);
  await level.sublevel('meta').put('format', '2');
  await level.close();
  await expect(MetadataStore.open(folder, log)).rejects.toEqual(
    expect.objectContaining({ code: 'failed-precondition', next: expect.stringContaining('UPGRADING.md') as string }),
  );
});

test('a database that is open already is a failed precondition', async () => {
  const folder = await freshFolder();
  const store = await openStore(folder);
  await insert(store, { key: 'a' });
  await expect(MetadataStore.open(folder, log)).rejects.toEqual(coded('failed-precondition'));
  expect((await collect(store.all())).length).toBe(1);
});
