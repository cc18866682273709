import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { describe, expect, test } from 'vitest';
import { toBase32 } from '../../../src/spfs/digest.js';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { entry, freshRoot, layer, log, tag } from './support.js';

const red = layer('red');

/**
 * A closed store of 300 tags; its last changes are in LevelDB's log, the others in a table. Once it was opened again, all are in
 * tables, and keys are not counted any more.
 */
async function closedStore(where: 'in the log' | 'in tables'): Promise<{ root: string; folder: string }> {
  const root = await freshRoot();
  const store = new SpfsStore({ root, log });
  await tag(store, ...Array.from({ length: 200 }, (_, at) => [`old/${at}`, layer(`old ${at}`)] as const));
  await tag(store, ...Array.from({ length: 100 }, (_, at) => [`new/${at}`, layer(`new ${at}`)] as const));
  if (where === 'in tables') await store.read((view) => view.tags());
  return { root, folder: join(root, 'store.db') };
}

async function fileLike(folder: string, pattern: RegExp): Promise<string> {
  const name = (await readdir(folder)).sort().findLast((candidate) => pattern.test(candidate));
  expect(name, `a file like ${pattern}`).toBeDefined();
  return join(folder, name ?? '');
}

async function expectDamage(root: string): Promise<void> {
  await expect(new SpfsStore({ root, log }).read((view) => view.tags())).rejects.toMatchObject({
    code: 'data-loss',
    next: `move ${join(root, 'store.db')} away, then import and tag again`,
  });
}

const truncated = (bytes: Buffer) => bytes.subarray(0, bytes.length / 2);
const emptied = () => Buffer.alloc(0);
const garbage = (bytes: Buffer) => Buffer.alloc(bytes.length, 'garbage');

describe.for(['in the log', 'in tables'] as const)(
  'a store whose last change is %s, damaged, is data-loss, never a smaller store:',
  (where) => {
    test.for<[string, RegExp, (bytes: Buffer) => Buffer]>([
      ['CURRENT emptied', /^CURRENT$/, emptied],
      ['CURRENT garbage', /^CURRENT$/, garbage],
      ['MANIFEST truncated', /^MANIFEST/, truncated],
      ['MANIFEST garbage', /^MANIFEST/, garbage],
      ['table emptied', /\.ldb$/, emptied],
      ['table truncated', /\.ldb$/, truncated],
      ['table garbage', /\.ldb$/, garbage],
    ])('%s', async ([, pattern, damage]) => {
      const { root, folder } = await closedStore(where);
      const file = await fileLike(folder, pattern);
      await writeFile(file, damage(await readFile(file)));
      await expectDamage(root);
    });

    test.for([/^CURRENT$/, /^MANIFEST/, /\.ldb$/])('%s deleted', async (pattern) => {
      const { root, folder } = await closedStore(where);
      await rm(await fileLike(folder, pattern));
      await expectDamage(root);
    });

    test('a file in the place of the database', async () => {
      const { root, folder } = await closedStore(where);
      await rm(folder, { recursive: true });
      await writeFile(folder, 'not a database');
      await expectDamage(root);
    });

    test('an empty folder in the place of the database', async () => {
      const { root, folder } = await closedStore(where);
      await rm(folder, { recursive: true });
      await mkdir(folder);
      await expectDamage(root);
    });
  },
);

describe('a store that contradicts itself is data-loss', () => {
  test.for<[string, (level: Level) => Promise<void>]>([
    ['an object is gone', (level) => level.sublevel('objects').del(toBase32(red.digest))],
    ['an entry is gone', (level) => level.sublevel('tags').del('t\0' + '1'.padStart(16, '0'))],
    ['an entry is too many', (level) => level.sublevel('tags').put('u\0' + '1'.padStart(16, '0'), '{}')],
    ['the counters are gone', (level) => level.sublevel('meta').del('counters')],
    ['the format version is gone', (level) => level.sublevel('meta').del('format')],
  ])('%s', async ([, tamper]) => {
    const root = await freshRoot();
    await tag(new SpfsStore({ root, log }), ['t', red]);
    const level = new Level(join(root, 'store.db'));
    await tamper(level);
    await level.close();
    await expectDamage(root);
  });

  test.for<[string, string, string]>([
    ['an object that is not JSON', 'objects', '{'],
    ['an object with an unknown field', 'objects', JSON.stringify({ ...red, colour: 'red' })],
    ['an object of an unknown kind', 'objects', JSON.stringify({ ...red, kind: 'blob' })],
    ['an entry without a user', 'tags', JSON.stringify({ ...entry(red), user: undefined })],
    ['an entry with another digest', 'tags', JSON.stringify({ ...entry(red), digest: 'sha256:1' })],
  ])('%s', async ([, table, text]) => {
    const root = await freshRoot();
    const store = new SpfsStore({ root, log });
    await tag(store, ['t', red]);
    const level = new Level(join(root, 'store.db'));
    const key = table === 'objects' ? toBase32(red.digest) : 't\0' + '1'.padStart(16, '0');
    await level.sublevel(table).put(key, text);
    await level.close();
    const looked = store.read<unknown>((view) => (table === 'objects' ? view.objects() : view.history('t')));
    await expect(looked).rejects.toMatchObject({
      code: 'data-loss',
      message: expect.stringContaining('in the store of spfs cannot be read') as string,
    });
  });
});

test('a newer format is refused with what to do, and is not data-loss', async () => {
  const root = await freshRoot();
  await tag(new SpfsStore({ root, log }), ['t', red]);
  const level = new Level(join(root, 'store.db'));
  await level.sublevel('meta').put('format', '2');
  await level.close();
  await expect(new SpfsStore({ root, log }).read((view) => view.tags())).rejects.toMatchObject({
    code: 'failed-precondition',
    message: `${join(root, 'store.db')} has format version 2`,
    next: expect.stringContaining('UPGRADING.md') as string,
  });
});

test('what a crash left of a database that was being made is made anew', async () => {
  const root = await freshRoot();
  await tag(new SpfsStore({ root, log }), ['t', red]);
  await rm(join(root, 'store.db'), { recursive: true });
  await mkdir(join(root, 'store.db.unfinished'));
  await writeFile(join(root, 'store.db.unfinished', 'CURRENT'), 'half');
  await tag(new SpfsStore({ root, log }), ['t', red]);
  expect((await readdir(root)).sort()).toEqual(['.spfs-erofs-store', 'lock', 'store.db']);
});
