import { mkdir, readdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { removeTree, run, setImmutable } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from './temporary.js';

const deadlineMs = 30_000;

requires('root')('removing a tree', () => {
  test('erases immutable files and folders, and does not follow links', async () => {
    const folder = await temporaryFolder();
    const tree = join(folder, 'tree');
    await mkdir(join(tree, 'below'), { recursive: true });
    await writeFile(join(folder, 'outside'), 'stays');
    await symlink(join(folder, 'outside'), join(tree, 'below', 'link'));
    await writeFile(join(tree, 'below', 'layer.erofs'), 'x');
    expect(await setImmutable(join(tree, 'below', 'layer.erofs'), true)).toBe(true);
    expect(await setImmutable(join(tree, 'below'), true)).toBe(true);
    await expect(writeFile(join(tree, 'below', 'layer.erofs'), 'y')).rejects.toThrow('EPERM');
    await removeTree(tree);
    expect(await readdir(folder)).toEqual(['outside']);
  });

  test('that is deeper than a path can be spelled works', async () => {
    const folder = await temporaryFolder();
    const name = 'd'.repeat(200);
    const script = `mkdir tree; cd tree; i=0; while [ $i -lt 40 ]; do mkdir ${name}; cd ${name}; i=$((i+1)); done`;
    await run('bash', ['-c', script], { deadlineMs, cwd: folder });
    await removeTree(join(folder, 'tree'));
    expect(await readdir(folder)).toEqual([]);
  });

  test('that does not exist is no error', async () => {
    await removeTree(join(await temporaryFolder(), 'none'));
  });
});

requires('root')('the immutable attribute', () => {
  test('can be set and cleared twice', async () => {
    const file = join(await temporaryFolder(), 'file');
    await writeFile(file, '');
    for (const on of [true, true, false, false]) expect(await setImmutable(file, on)).toBe(true);
    await writeFile(file, 'again');
  });

  test('answers false where the filesystem has none', async () => {
    expect(await setImmutable('/proc/self/status', true)).toBe(false);
  });
});
