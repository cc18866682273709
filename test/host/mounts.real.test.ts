import { mkdir, readdir, readFile, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import { diskUsage, listMounts, mountReadOnly, removeTree, run, unmount } from '../../src/host/index.js';
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

async function loopDevices(of: string): Promise<string> {
  const { stdout } = await run('losetup', ['--noheadings', '--output', 'NAME', '--associated', of], { deadlineMs });
  return stdout.trim();
}

requires(
  'root',
  'loop',
  'ext4',
  'erofs',
  'overlay',
  'mkfs.ext4',
  'mkfs.erofs',
)('mounting an image', () => {
  test('shows its files, read-only and harmless, and gives its loop device back', async () => {
    const { image, target } = await ext4Image();
    await mountReadOnly({ image, target, type: 'ext4', options: ['noload'] });
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('inside');
    const mounted = (await listMounts()).find((mount) => mount.target === target);
    expect(mounted).toMatchObject({ type: 'ext4', root: '/' });
    expect(mounted?.options).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec']));
    await expect(writeFile(join(target, 'file'), '')).rejects.toThrow('EROFS');
    await unmount(target);
    expect(await readdir(target)).toEqual([]);
    await expect.poll(() => loopDevices(image)).toBe('');
  });

  test('replays the journal of a guest that was killed, when asked to', async () => {
    const { image, target } = await ext4Image();
    await run('debugfs', ['-w', '-R', 'feature needs_recovery', image], { deadlineMs });
    await expect(mountReadOnly({ image, target, type: 'ext4' })).rejects.toMatchObject({ code: 'internal' });
    await mountReadOnly({ image, target, type: 'ext4', replayJournal: true });
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('inside');
    await unmount(target);
    await expect.poll(() => loopDevices(image)).toBe('');
    await mountReadOnly({ image, target, type: 'ext4' });
  });

  test('that is damaged fails and leaves neither mount nor loop device', async () => {
    const { image, target } = await ext4Image();
    await writeFile(image, Buffer.alloc(1 << 20));
    for (const replayJournal of [false, true]) {
      const mounting = mountReadOnly({ image, target, type: 'ext4', replayJournal });
      await expect(mounting).rejects.toMatchObject({ code: 'internal', facts: { tool: 'mount' } });
    }
    await expect.poll(() => loopDevices(image)).toBe('');
    expect((await listMounts()).some((mount) => mount.target === target)).toBe(false);
  });

  test('that is cancelled just after a device was attached leaves it not', async () => {
    const { folder, image, target } = await ext4Image();
    const { stdout: losetup } = await run('which', ['losetup'], { deadlineMs });
    const script = `#!/bin/sh\n${losetup.trim()} "$@"\ncase "$*" in *--find*) : >"${folder}/attached"; sleep 0.3;; esac\n`;
    await mkdir(join(folder, 'bin'));
    await writeFile(join(folder, 'bin', 'losetup'), script, { mode: 0o755 });
    vi.stubEnv('PATH', `${join(folder, 'bin')}:${process.env['PATH']}`);
    onTestFinished(() => void vi.unstubAllEnvs());
    const controller = new AbortController();
    const mounting = mountReadOnly({ image, target, type: 'ext4', signal: controller.signal });
    const outcome = expect(mounting).rejects.toMatchObject({ code: 'cancelled' });
    await expect.poll(() => readdir(folder), { interval: 10 }).toContain('attached');
    controller.abort();
    await outcome;
    expect(await loopDevices(image)).toBe('');
    expect(await readdir(target)).toEqual([]);
  });

  test('with further devices hands each over, and none stays attached', async () => {
    const folder = await temporaryFolder();
    const layers = ['lower', 'upper'].map((name) => ({
      tree: join(folder, name),
      image: join(folder, `${name}.erofs`),
    }));
    for (const { tree, image } of layers) {
      await mkdir(tree);
      await writeFile(join(tree, `file-${layers.findIndex((layer) => layer.tree === tree)}`), image.repeat(200));
      await run('mkfs.erofs', ['--quiet', '-Enoinline_data', image, tree], { deadlineMs });
    }
    const devices = layers.map((layer) => layer.image);
    const image = join(folder, 'fsmeta.erofs');
    await run('mkfs.erofs', ['--quiet', '--aufs', image, ...devices], { deadlineMs });
    const target = join(folder, 'target');
    await mkdir(target);
    onTestFinished(() => unmount(target));
    await mountReadOnly({ image, devices, target, type: 'erofs' });
    expect((await readdir(target)).sort()).toEqual(['file-0', 'file-1']);
    expect(await readFile(join(target, 'file-0'), 'utf8')).toBe(devices[0]?.repeat(200));
    await unmount(target);
    for (const file of [image, ...devices]) await expect.poll(() => loopDevices(file)).toBe('');
  });

  test('of a source that is no image works as well', async () => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'file'), 'x');
    const target = join(folder, 'target');
    await mkdir(target);
    onTestFinished(() => unmount(target));
    const options = [`lowerdir=${folder}:/usr/share/doc`];
    await mountReadOnly({ source: 'overlay', target, type: 'overlay', options });
    expect(await readFile(join(target, 'file'), 'utf8')).toBe('x');
  });
});

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.ext4',
)('unmounting', () => {
  test('of what is in use says so at once and leaves it mounted', async () => {
    const { image, target } = await ext4Image();
    await mountReadOnly({ image, target, type: 'ext4' });
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
    await mountReadOnly({ image, target, type: 'ext4' });
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
