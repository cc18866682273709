import { chmod, link, mkdir, readdir, readFile, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { diskUsage, makeFolder, publish, temporaryBeside, writeFileDurably } from '../../src/host/index.js';
import { temporaryFolder } from './temporary.js';

describe('a durable write', () => {
  test('replaces the whole file, with mode 0600 unless another is given', async () => {
    const file = join(await temporaryFolder(), 'record.json');
    await writeFile(file, 'a longer text of before');
    await writeFileDurably(file, 'new');
    expect(await readFile(file, 'utf8')).toBe('new');
    expect((await stat(file)).mode & 0o7777).toBe(0o600);
    await writeFileDurably(file, Buffer.from('bytes'), 0o644);
    expect((await stat(file)).mode & 0o7777).toBe(0o644);
  });

  test('that fails says so and leaves no file behind', async () => {
    const folder = await temporaryFolder();
    await mkdir(join(folder, 'taken'));
    await expect(writeFileDurably(join(folder, 'taken'), 'x')).rejects.toMatchObject({ code: 'internal' });
    expect(await readdir(folder)).toEqual(['taken']);
    await expect(writeFileDurably(join(folder, 'no', 'folder'), 'x')).rejects.toMatchObject({ code: 'internal' });
  });
});

describe('making a folder', () => {
  test('makes those above it, and leaves one that exists as it is', async () => {
    const folder = join(await temporaryFolder(), 'a', 'b');
    await makeFolder(folder, 0o700);
    expect((await stat(dirname(folder))).mode & 0o777).toBe(0o700);
    await chmod(folder, 0o750);
    await makeFolder(folder, 0o700);
    expect((await stat(folder)).mode & 0o777).toBe(0o750);
  });

  test('makes one that several make at once, with those above it', async () => {
    const folder = join(await temporaryFolder(), 'a', 'b', 'c', 'd');
    await Promise.all(Array.from({ length: 50 }, () => makeFolder(folder, 0o700)));
    expect((await stat(folder)).isDirectory()).toBe(true);
  });

  test('below a file, or where the kernel makes none (it never ended), says what cannot be made', async () => {
    const file = join(await temporaryFolder(), 'file');
    await writeFile(file, '');
    for (const path of [file, join(file, 'x'), '/proc/x/y']) {
      const message = expect.stringContaining(`folder ${path} cannot be made`) as string;
      await expect(makeFolder(path, 0o700)).rejects.toMatchObject({ code: 'failed-precondition', message });
    }
  });
});

describe('publishing', () => {
  test('moves a file or a folder to its name', async () => {
    const folder = await temporaryFolder();
    const file = temporaryBeside(join(folder, 'layer.erofs'));
    await writeFile(file, 'layer');
    await publish(file, join(folder, 'layer.erofs'));
    await mkdir(join(folder, '.tmp-dir'));
    await publish(join(folder, '.tmp-dir'), join(folder, 'dir'));
    expect((await readdir(folder)).sort()).toEqual(['dir', 'layer.erofs']);
  });

  test('takes a temporary name in the same folder, each time another', () => {
    const name = temporaryBeside('/var/lib/x/snapshots/1/layer.erofs');
    expect(dirname(name)).toBe('/var/lib/x/snapshots/1');
    expect(basename(name)).toMatch(/^\.tmp-[0-9a-f]{16}-layer\.erofs$/);
    expect(temporaryBeside('/var/lib/x/snapshots/1/layer.erofs')).not.toBe(name);
  });
});

describe('disk usage', () => {
  test('counts blocks, not lengths, hard links once, and links as themselves', async () => {
    const folder = await temporaryFolder();
    const empty = await diskUsage(folder);
    expect(empty.inodes).toBe(1);
    await writeFile(join(folder, 'file'), Buffer.alloc(8192, 1));
    await link(join(folder, 'file'), join(folder, 'again'));
    await symlink('/usr', join(folder, 'link'));
    await mkdir(join(folder, 'below'));
    const sparse = join(folder, 'below', 'sparse');
    await writeFile(sparse, '');
    await truncate(sparse, 1 << 30);
    const usage = await diskUsage(folder);
    expect(usage.inodes).toBe(5);
    expect(usage.bytes - empty.bytes).toBeGreaterThanOrEqual(8192);
    expect(usage.bytes - empty.bytes).toBeLessThan(64 * 1024);
  });

  test('of a file is the file alone, and of nothing is nothing', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'file'), Buffer.alloc(4096, 1));
    await chmod(join(folder, 'file'), 0o400);
    expect((await diskUsage(join(folder, 'file'))).inodes).toBe(1);
    expect(await diskUsage(join(folder, 'none'))).toEqual({ bytes: 0, inodes: 0 });
  });
});
