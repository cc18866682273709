import { execFile } from 'node:child_process';
import { chmod, chown, mkdir, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { Level } from 'level';
import { describe, expect, onTestFinished, test } from 'vitest';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { requires } from '../../harness/requires.js';
import { coded, freshRoot, layer, log, tag } from './support.js';

const run = promisify(execFile);
const read = (root: string) => new SpfsStore({ root, log, waitMs: 100 }).read((view) => view.tags());

const marker = '.spfs-erofs-store';

test('a storage root of a release without the marker is recognised by its database, or by its lock alone, and marked', async () => {
  for (const left of [['lock', 'store.db'], ['lock']]) {
    const root = await freshRoot();
    await tag(new SpfsStore({ root, log }), ['kept', layer('kept')]);
    for (const name of await readdir(root)) if (!left.includes(name)) await rm(join(root, name), { recursive: true });
    expect(await read(root)).toHaveLength(left.length - 1);
    expect(await readdir(root)).toContain(marker);
  }
});

describe('a storage root that is refused', () => {
  test.for<[string, (root: string) => Promise<unknown>, string, string]>([
    ['a file', (root) => writeFile(root, ''), 'cannot be made', 'choose another'],
    ['a folder of files that are not ours', (root) => foreign(root), "what is not this program's (payloads, tags)", ''],
    [
      'a repository of the original',
      (root) => repository(root),
      'is a repository of the original spfs',
      'SPIN_SPFS_STORAGE_ROOT',
    ],
    ['a folder of another program that has a lock too', (root) => locked(root), '(lock, payloads)', ''],
    ['a folder with the LevelDB of another program', (root) => foreignStore(root), '(lock, store.db)', ''],
    ['a folder that others can write', (root) => open(root), 'can be written by other users', 'chmod go-w'],
  ])('%s', async ([, make, message, next]) => {
    const root = await freshRoot();
    await make(root);
    await expect(read(root)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining(message) as string,
      next: expect.stringContaining(next) as string,
    });
    if ((await stat(root)).isDirectory()) expect(await readdir(root)).not.toContain(marker);
  });

  async function foreign(root: string): Promise<void> {
    for (const name of ['payloads', 'tags']) await mkdir(join(root, name), { recursive: true });
    await chmod(root, 0o700);
  }

  async function repository(root: string): Promise<void> {
    for (const name of ['objects', 'payloads', 'renders', 'tags']) await mkdir(join(root, name), { recursive: true });
    await chmod(root, 0o700);
  }

  async function locked(root: string): Promise<void> {
    await mkdir(join(root, 'payloads'), { recursive: true, mode: 0o700 });
    await writeFile(join(root, 'lock'), '');
  }

  async function foreignStore(root: string): Promise<void> {
    await mkdir(root, { mode: 0o700 });
    await writeFile(join(root, 'lock'), '');
    const level = new Level(join(root, 'store.db'));
    await level.put('!meta!format', '1');
    await level.close();
  }

  async function open(root: string): Promise<void> {
    await mkdir(root);
    await chmod(root, 0o777);
  }

  test('one that has a store.db held by a program that does not know the lock', async () => {
    const root = await freshRoot();
    await read(root);
    const level = new Level(join(root, 'store.db'));
    await level.open();
    await expect(read(root)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining('store.db is in use by another process') as string,
      next: 'end the program that has it open',
    });
    await level.close();
    expect(await read(root)).toEqual([]);
  });
});

requires('root')('a storage root', () => {
  test('of another user is refused', async () => {
    const root = await freshRoot();
    await read(root);
    await chown(root, 65534, 65534);
    await expect(read(root)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `the storage root ${root} belongs to user 65534, and this is user 0`,
    });
  });

  async function mounted(options: string): Promise<string> {
    const root = await freshRoot();
    const folder = dirname(root);
    await run('mount', ['-t', 'tmpfs', '-o', `mode=0755,${options}`, 'spfs-store-test', folder]);
    onTestFinished(async () => {
      await run('umount', [folder]);
    });
    return root;
  }

  test('that is read-only is refused', async () => {
    const root = await mounted('size=8m');
    await read(root);
    await run('mount', ['-o', 'remount,ro', dirname(root)]);
    await expect(read(root)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: expect.stringContaining(`the storage root ${root} cannot be used: EROFS`) as string,
    });
  });

  test('on a full disk says so, keeps what it has, and works again once there is space', async () => {
    const root = await mounted('size=1m');
    const store = new SpfsStore({ root, log });
    await tag(store, ['before', layer('before')]);
    const ballast = join(dirname(root), 'ballast');
    await writeFile(ballast, Buffer.alloc(2 << 20)).catch(() => undefined);
    const outcomes: { name: string; failed: boolean }[] = [];
    for (let at = 0; at < 5; at += 1) {
      const object = { ...layer(`big ${at}`), origin: 'x'.repeat(20_000) };
      const failure: unknown = await tag(store, [`big/${at}`, object]).catch((error: unknown) => error);
      if (failure !== undefined) expect(failure).toEqual(coded('resource-exhausted'));
      outcomes.push({ name: `big/${at}`, failed: failure !== undefined });
    }
    expect(outcomes.some(({ failed }) => failed)).toBe(true);

    await rm(ballast);
    await tag(store, ['after', layer('after')]);
    const there = new Set((await store.read((view) => view.tags())).map(({ name }) => name));
    expect([...there]).toEqual(expect.arrayContaining(['before', 'after']));
    for (const { name, failed } of outcomes) expect(there.has(name)).toBe(!failed);
  });

  test('that has no room for one change loses that change alone', async () => {
    const root = await mounted('size=1m');
    const store = new SpfsStore({ root, log });
    await tag(store, ['before', layer('before')]);
    const large = tag(store, ['large', { ...layer('large'), origin: 'x'.repeat(2 << 20) }]);
    await expect(large).rejects.toEqual(coded('resource-exhausted'));
    // The unfinished files take all the space, until LevelDB has a little to open with.
    await run('mount', ['-o', 'remount,size=8m', dirname(root)]);
    await tag(store, ['after', layer('after')]);
    expect((await store.read((view) => view.tags())).map(({ name }) => name)).toEqual(['after', 'before']);
  });

  test('cannot be made on a full disk', async () => {
    const root = await mounted('size=64k');
    await writeFile(join(dirname(root), 'ballast'), Buffer.alloc(1 << 20)).catch(() => undefined);
    await expect(read(root)).rejects.toEqual(coded('resource-exhausted'));
    await rm(join(dirname(root), 'ballast'));
    expect(await read(root)).toEqual([]);
  });
});
