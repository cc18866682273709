import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { lstat, mkdir, readdir, readFile, realpath, symlink, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { listLoopDevices, listMounts, PrivateMounts, run } from '../../src/host/index.js';
import { bundlePrograms } from '../harness/bundle.js';
import { mountedReadOnly } from '../harness/mounted.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from './temporary.js';

const deadlineMs = 30_000;
const bundle = bundlePrograms(import.meta.dirname, 'private-mounts-child');

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
  return { folder, image, target };
}

/** Mounts and loop devices of what lies in a folder, as the whole host sees them. */
async function seenByTheHost(folder: string): Promise<string[]> {
  const loops = (await listLoopDevices()).filter(({ image }) => image.startsWith(folder));
  const mounts = (await listMounts()).filter(({ target }) => target.startsWith(folder));
  return [...loops.map(({ image }) => image), ...mounts.map(({ target }) => target)];
}

requires(
  'root',
  'loop',
  'ext4',
  'erofs',
  'overlay',
  'mkfs.ext4',
  'mkfs.erofs',
)('an image that is mounted for this process alone', () => {
  test('shows its files, read-only and harmless, to it and to children it lets in, and to no other process', async () => {
    const { folder, image, target } = await ext4Image();
    const mounts = await PrivateMounts.open(folder);
    onTestFinished(() => mounts.close());
    const path = await mounts.mountReadOnly({ image, target, type: 'ext4', options: ['noload'] });
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('inside');
    expect((await lstat(path)).isDirectory()).toBe(true);
    await expect(writeFile(join(path, 'file'), '')).rejects.toThrow('EROFS');
    const { namespace: mountNamespace } = mounts;
    const { stdout } = await run('findmnt', ['--noheadings', '--output', 'OPTIONS', '--mountpoint', target], {
      deadlineMs,
      mountNamespace,
    });
    expect(stdout.trim().split(',')).toEqual(expect.arrayContaining(['ro', 'nosuid', 'nodev', 'noexec']));
    expect(await readdir(target)).toEqual([]);
    expect(await seenByTheHost(folder)).toEqual([image]);
    await mounts.close();
    expect(await seenByTheHost(folder)).toEqual([]);
    await expect(readdir(path)).rejects.toThrow('ENOENT');
  });

  test('goes with the process that is killed, with the child that reads it, and so does its loop device', async () => {
    const { folder, image, target } = await ext4Image();
    const child = spawn(process.execPath, [bundle('private-mounts-child'), image, target], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [said] = (await once(child.stdout, 'data')) as [Buffer];
    expect(said.toString()).toBe('a child reads inside\n');
    expect(await seenByTheHost(folder)).toEqual([image]);
    child.kill('SIGKILL');
    await once(child, 'exit');
    await expect.poll(() => seenByTheHost(folder)).toEqual([]);
  });

  test('is found below a link, and what is mounted on a link stays inside', async () => {
    const { folder, image, target } = await ext4Image();
    const link = join(await temporaryFolder(), 'link');
    await symlink(folder, link);
    const path = await mountedReadOnly({ image, target: target.replace(folder, link), type: 'ext4' });
    expect(await readFile(join(path, 'file'), 'utf8')).toBe('inside');
    expect(await readdir(await realpath(target))).toEqual([]);
  });

  test('and is damaged fails and leaves neither mount nor loop device', async () => {
    const { folder, image, target } = await ext4Image();
    await writeFile(image, Buffer.alloc(1 << 20));
    const mounting = mountedReadOnly({ image, target, type: 'ext4' });
    await expect(mounting).rejects.toMatchObject({ code: 'internal', facts: { tool: 'mount' } });
    await expect.poll(() => seenByTheHost(folder)).toEqual([]);
  });

  test('and is cancelled leaves neither', async () => {
    const { folder, image, target } = await ext4Image();
    const controller = new AbortController();
    const mounting = mountedReadOnly({ image, target, type: 'ext4', signal: controller.signal });
    controller.abort();
    await expect(mounting).rejects.toMatchObject({ code: 'cancelled' });
    await expect.poll(() => seenByTheHost(folder)).toEqual([]);
  });

  test('or is missing says which', async () => {
    const { folder, target } = await ext4Image();
    const image = join(folder, 'none.img');
    const mounting = mountedReadOnly({ image, target, type: 'ext4' });
    await expect(mounting).rejects.toThrow(`attaching ${image} to a loop device failed: ENOENT`);
  });

  test('with further devices hands each over, and an overlay stands on it', async () => {
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
    const [merged, whole] = [join(folder, 'merged'), join(folder, 'whole')];
    for (const target of [merged, whole]) await mkdir(target);
    const mounts = await PrivateMounts.open(folder);
    onTestFinished(() => mounts.close());
    const path = await mounts.mountReadOnly({ image, devices, target: merged, type: 'erofs' });
    expect((await readdir(path)).sort()).toEqual(['file-0', 'file-1']);
    expect(await readFile(join(path, 'file-0'), 'utf8')).toBe(devices[0]?.repeat(200));
    const options = [`lowerdir=${merged}:/usr/share/doc`];
    const overlay = await mounts.mountReadOnly({ source: 'overlay', target: whole, type: 'overlay', options });
    expect(await readdir(overlay)).toEqual(
      expect.arrayContaining(['file-0', 'file-1', ...(await readdir('/usr/share/doc'))]),
    );
    await mounts.close();
    expect(await seenByTheHost(folder)).toEqual([]);
  });

  test('leaves a disk alone that the host has mounted: it is free once the host has unmounted it', async () => {
    const { folder, image, target } = await ext4Image();
    await run('mount', ['-o', 'loop', image, target], { deadlineMs });
    await run('mount', ['--make-private', target], { deadlineMs });
    const mounts = await PrivateMounts.open(folder);
    onTestFinished(() => mounts.close());
    await run('umount', [target], { deadlineMs });
    expect(await seenByTheHost(folder)).toEqual([]);
  });

  test('a tool that is not installed is told as such', async () => {
    const mounts = await PrivateMounts.open('/');
    onTestFinished(() => mounts.close());
    const running = run('no-such-tool', [], { deadlineMs, mountNamespace: mounts.namespace });
    await expect(running).rejects.toMatchObject({ code: 'unavailable', next: 'install no-such-tool' });
  });
});
