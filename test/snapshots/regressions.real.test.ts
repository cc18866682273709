import { access, cp, mkdir, open, readdir, readlink, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { convertDirectory, layerUuid } from '../../src/erofs/index.js';
import { run } from '../../src/host/index.js';
import type { ExtractTarget } from '../../src/layers/index.js';
import { MetadataStore } from '../../src/metadata/index.js';
import type { Digest } from '../../src/vocabulary.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';
import { makeChain } from './crash-operations.js';

const digestOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`;

requires(
  'root',
  'loop',
  'mkfs.erofs',
  'mkfs.ext4',
)('what broke once', () => {
  let world: InProcessWorld;
  beforeEach(async () => {
    world = await makeInProcessWorld();
  });
  afterEach(() => world.close());

  /** What Apply does once it has content: an image with one file, as the layer of `digest`. */
  async function apply(target: ExtractTarget, digest: Digest): Promise<void> {
    const directory = target.temporary('content');
    const output = target.temporary('layer.erofs');
    await mkdir(directory);
    try {
      await writeFile(join(directory, 'file'), digest);
      const superblock = await convertDirectory({ directory, output, uuid: layerUuid(digest), deadlineMs: 60_000 });
      await target.publishLayer(output, { digest, diffId: digest, tarBytes: 1024, superblock });
    } finally {
      await rm(directory, { recursive: true, force: true });
      await rm(output, { force: true });
    }
  }

  it('an Apply that ends after Commit took the layer of the committed snapshot', async () => {
    const mounts = await world.port.prepare('extract-a');
    await apply(await world.snapshotter.extractTarget(mounts), digestOf('a'));
    const late = [
      await world.snapshotter.extractTarget(mounts),
      await world.snapshotter.extractTarget(mounts),
    ] as const;
    await world.port.commit('base', 'extract-a');
    const other = await world.port.prepare('extract-b');
    await apply(await world.snapshotter.extractTarget(other), digestOf('b'));
    await expect(apply(late[0], digestOf('c'))).rejects.toMatchObject({ code: 'not-found' });
    await expect(late[1].adoptLayer(digestOf('b'))).rejects.toMatchObject({ code: 'not-found' });
    const [image] = await world.port.view('look', 'base');
    await access(image!.source);
    expect((await readdir(join(image!.source, '..'))).sort()).toEqual([
      ...[
        '.erofs-snapshotter-leveldb',
        '.erofslayer',
        'layer.erofs',
        `sha256-${'a'.repeat(64)}.erofs`,
        'snapshot.json',
      ],
    ]);
  });

  it.each(['at once', 'after a restart'])(
    'a second Apply of another layer that cannot be recorded took the first one away (%s)',
    async (when) => {
      const mounts = await world.port.prepare('extract-a');
      await apply(await world.snapshotter.extractTarget(mounts), digestOf('a'));
      const target = await world.snapshotter.extractTarget(mounts);
      const folder = join(mounts[0]!.source, '..');
      const layers = async () =>
        (await readdir(folder)).filter((name) => /^(sha256-.*|layer)\.erofs$/.test(name)).sort();
      const [first, second] = ['a', 'b'].map((digit) => `sha256-${digit.repeat(64)}.erofs`) as [string, string];
      const write = vi.spyOn(MetadataStore.prototype, 'exclusive').mockRejectedValueOnce(new Error('no'));
      await expect(apply(target, digestOf('b'))).rejects.toThrow();
      write.mockRestore();
      if (when === 'after a restart') {
        // As a crash leaves it, after the layer was published and before it was recorded.
        await cp(join(folder, first), join(folder, second));
        await rm(join(folder, 'layer.erofs'));
        await symlink(second, join(folder, 'layer.erofs'));
        await world.reopen();
      }
      expect(await layers()).toEqual(['layer.erofs', first]);
      expect(await readlink(join(folder, 'layer.erofs'))).toBe(first);
      await apply(await world.snapshotter.extractTarget(mounts), digestOf('c'));
      expect(await layers()).toEqual(['layer.erofs', `sha256-${'c'.repeat(64)}.erofs`]);
      await world.port.commit('base', 'extract-a');
      await world.port.view('look', 'base');
    },
  );

  it.each(['at once', 'after a restart'])(
    'a container whose writable layer is lost was committed as an empty layer (%s)',
    async (when) => {
      const mounts = await world.port.prepare('box');
      await rm(mounts.at(-1)!.source);
      if (when === 'after a restart') await world.reopen();
      await expect(world.port.commit('saved', 'box')).rejects.toMatchObject({ code: 'failed-precondition' });
      expect(await world.port.list('name==saved')).toEqual([]);
      await world.port.remove('box');
    },
  );

  it('a comparison that was cut short and is still looked into stopped every start', async () => {
    await world.snapshotter.close();
    const left = join(world.root, 'snapshots', '.tmp-0123456789abcdef-compare', 'left');
    await mkdir(left, { recursive: true });
    await run('mount', ['-t', 'tmpfs', 'tmpfs', left], { deadlineMs: 10_000 });
    const file = await open(join(left, 'looked-into'), 'w');
    try {
      await world.reopen();
      await world.port.prepare('box');
    } finally {
      await file.close();
    }
    await world.reopen();
    expect(await readdir(join(world.root, 'snapshots'))).toEqual(['1']);
  });

  it('Mounts answered with a merged image that had become that of another chain', async () => {
    await makeChain(world.snapshotter);
    const [image] = await world.port.view('look', 'c3');
    const elsewhere = (await world.port.mounts('old'))[0]!.source;
    const { stdout } = await run('sha256sum', [image!.source], { deadlineMs: 10_000 });
    await world.snapshotter.close();
    await cp(elsewhere, image!.source);
    await world.reopen();
    expect(await world.port.mounts('look')).toEqual([image]);
    expect((await run('sha256sum', [image!.source], { deadlineMs: 10_000 })).stdout).toBe(stdout);
  });

  it('Remove succeeds while something is mounted in the folder; Cleanup erases it once that is gone', async () => {
    const [bind] = await world.port.prepare('extract-a');
    await run('mount', ['-t', 'tmpfs', 'tmpfs', bind!.source], { deadlineMs: 10_000 });
    const trash = join(world.root, 'trash');
    await world.port.remove('extract-a');
    expect(await world.port.list()).toEqual([]);
    await world.port.cleanup();
    const [folder] = await readdir(trash);
    await run('umount', [join(trash, folder!, 'fs')], { deadlineMs: 10_000 });
    await world.port.cleanup();
    expect(await readdir(trash)).toEqual([]);
  });

  it('Cleanup did not erase snapshots that were removed while an earlier Cleanup ran', async () => {
    await world.port.prepare('first');
    await world.port.remove('first');
    // Enough to keep the first Cleanup busy beyond the removal of the second snapshot.
    const many = join(world.root, 'trash', (await readdir(join(world.root, 'trash')))[0]!, 'many');
    await mkdir(many);
    await Promise.all(Array.from({ length: 2000 }, (_, index) => writeFile(join(many, String(index)), '')));
    await world.port.prepare('second');
    const earlier = world.port.cleanup();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await world.port.remove('second');
    await world.port.cleanup();
    await earlier;
    expect(await readdir(join(world.root, 'trash'))).toEqual([]);
  });

  it('an Update of a label named like a method of objects was an internal error', async () => {
    await world.port.prepare('box', '', { constructor: 'x', kept: 'y' });
    expect((await world.port.update('box', {}, ['labels.constructor'])).labels).toEqual({ kept: 'y' });
    expect((await world.port.update('box', {}, ['labels.toString'])).labels).toEqual({ kept: 'y' });
  });
});
