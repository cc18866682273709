import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';

import { afterEach, expect, it } from 'vitest';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { requires } from '../harness/requires.js';
import { nothingLeft, startWorld, type World } from './world.js';

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
  'demo-packages',
)('an image that another namespace has', () => {
  let world: World;
  afterEach(() => world.close());

  const pullIn = (namespace: string) =>
    world.containerd.ctr([
      ...['--namespace', namespace, 'images', 'pull', '--plain-http'],
      ...['--snapshotter', snapshotterName, world.name],
    ]);
  const conversions = () => world.daemon.log.split('\n').filter((line) => line.includes('converted a layer')).length;
  const mountsOfContainer = async (namespace: string) => {
    const snapshots = ['--namespace', namespace, 'snapshots', '--snapshotter', snapshotterName];
    await world.containerd.ctr([...snapshots, 'prepare', 'container', world.chain.at(-1)!]);
    const mounts = await world.containerd.ctr([...snapshots, 'mounts', '/mnt', 'container']);
    await world.containerd.ctr([...snapshots, 'rm', 'container']);
    return mounts;
  };
  const snapshotsOf = async (namespace: string) => {
    const listed = await world.containerd.ctr([
      ...['--namespace', namespace, 'snapshots', '--snapshotter', snapshotterName, 'ls'],
    ]);
    return listed.match(/Committed/g)?.length ?? 0;
  };
  /** How many names each layer file has on the disk. */
  const links = async () => {
    const paths = await readdir(join(world.root, 'snapshots'), { recursive: true });
    const layers = paths.filter((path) => /\/sha256-[0-9a-f]+\.erofs$/.test(path));
    return Promise.all(layers.map(async (path) => (await stat(join(world.root, 'snapshots', path))).nlink));
  };

  it('is neither fetched nor converted again, and each namespace keeps it without the other', async () => {
    world = await startWorld();
    for (const [first, second] of [
      ['default', 'other'],
      ['other', 'default'],
    ] as const) {
      await pullIn(first);
      const before = conversions();
      await pullIn(second);
      expect(conversions()).toBe(before);
      const content = await world.containerd.ctr(['--namespace', second, 'content', 'ls', '-q']);
      for (const { digest } of world.image.manifest.layers) expect(content).not.toContain(digest);
      const mounts = await mountsOfContainer(second);
      expect(mounts).toContain('format/erofs');
      await world.removeImage(world.name, first);
      expect([await snapshotsOf(first), await snapshotsOf(second)]).toEqual([0, world.chain.length]);
      expect((await mountsOfContainer(second)).match(/device=\S*?\.erofs/g)).toEqual(
        mounts.match(/device=\S*?\.erofs/g),
      );
      await world.removeImage(world.name, second);
      expect(await world.leftovers()).toEqual(nothingLeft);
    }
  });

  it('is fetched and converted again when namespaces are kept apart', async () => {
    world = await startWorld({ daemonArgs: ['--share-layers', 'namespace'] });
    await pullIn('default');
    const before = conversions();
    await pullIn('other');
    expect(conversions()).toBe(2 * before);
    expect(new Set(await links())).toEqual(new Set([1]));
    expect(await snapshotsOf('other')).toBe(world.chain.length);
    await world.removeImage();
    expect(await mountsOfContainer('other')).toContain('format/erofs');
    await world.removeImage(world.name, 'other');
    expect(await world.leftovers()).toEqual(nothingLeft);
  });
});
