import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { diskUsage, removeTree, run, unmount } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from './temporary.js';

const deadlineMs = 30_000;

/** A folder with an ext4 image that holds one file, and a place to mount it. */
async function ext4Image(): Promise<{ folder: string; image: string; target: string }> {
  const folder = await temporaryFolder();
  const image = join(folder, 'disk, with "odd" name.img');
  const target = join(folder, 'mount point');
  await mkdir(join(folder, 'content'));
  await mkdir(target);
  await writeFile(join(folder, 'content', 'file'), 'inside');
  await writeFile(image, '');
  await truncate(image, 4 << 20);
  await run('mkfs.ext4', ['-q', '-d', join(folder, 'content'), image], { deadlineMs });
  onTestFinished(() => unmount(target));
  return { folder, image, target };
}

const mount = (image: string, target: string) => run('mount', ['-o', 'loop,ro', image, target], { deadlineMs });

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.ext4',
)('unmounting', () => {
  test('of what is in use says so at once and leaves it mounted', async () => {
    const { image, target } = await ext4Image();
    await mount(image, target);
    const user = run('sleep', ['60'], { deadlineMs: 60_000, cwd: target, signal: AbortSignal.timeout(1500) });
    await expect(unmount(target)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `${target} cannot be unmounted: a process still uses it`,
    });
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('inside');
    await expect(user).rejects.toMatchObject({ code: 'cancelled' });
  });

  test('of what is not mounted, or does not exist, does nothing', async () => {
    const folder = await temporaryFolder();
    await unmount(folder);
    await unmount(join(folder, 'none'));
  });
});

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.ext4',
)('a mount below a tree', () => {
  test('is neither counted nor removed with it', async () => {
    const { folder, image, target } = await ext4Image();
    const before = await diskUsage(folder);
    await mount(image, target);
    expect((await diskUsage(folder)).inodes).toBe(before.inodes - 1);
    await expect(removeTree(folder)).rejects.toMatchObject({
      code: 'failed-precondition',
      facts: { path: folder, mountPoint: target },
    });
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('inside');
    await unmount(target);
    await removeTree(folder);
    await expect(readdir(folder)).rejects.toThrow('ENOENT');
  });
});
