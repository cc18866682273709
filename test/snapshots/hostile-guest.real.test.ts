import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { describe, afterEach, beforeEach, expect, it, vi } from 'vitest';
import { listLoopDevices, listMounts } from '../../src/host/index.js';
import { quiescedLabel } from '../../src/vocabulary.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { debugfs, hostileImages, soundImage } from '../ext4/hostile-images.js';
import { requires } from '../harness/requires.js';

const modes = ['kernel', 'isolated'] as const;
describe.each(modes)('with guest_disks = %s', (guestDisks) => {
  requires(
    'root',
    'loop',
    'ext4',
    'mkfs.erofs',
    'mkfs.ext4',
  )('a guest that writes its disk to harm the host', () => {
    let world: InProcessWorld;
    let image: string;
    beforeEach(async () => {
      world = await makeInProcessWorld({ guestDisks });
      image = (await world.port.prepare('container')).at(-1)!.source;
      await soundImage(image);
    });
    afterEach(async () => {
      expect((await listMounts()).filter(({ target }) => target.startsWith(world.root))).toEqual([]);
      await vi.waitFor(async () =>
        expect((await listLoopDevices()).filter((loop) => loop.image.startsWith(world.root))).toEqual([]),
      );
      await world.close();
    });

    it.each(hostileImages)('a disk $what: Commit is refused with $refused, and nothing is left', async (hostile) => {
      await hostile.make(image);
      const before = await readdir(join(image, '..'));
      for (const quiesced of ['false', 'true']) {
        await expect(
          world.port.commit('name', 'container', { labels: { [quiescedLabel]: quiesced } }),
        ).rejects.toMatchObject({
          code: hostile.refused,
          message: expect.stringContaining(image) as unknown,
        });
        expect(await readdir(join(image, '..'))).toEqual(before);
      }
      expect((await world.port.stat('container')).kind).toBe('active');
      await soundImage(image);
      await world.port.commit('name', 'container');
    });

    it('a superblock that says errors=panic is overruled where the kernel mounts the disk; isolated, it mounts none', async () => {
      await debugfs(image, 'set_super_value errors 3');
      await world.port.view('nothing');
      const request = {
        left: await world.port.mounts('nothing'),
        right: await world.port.mounts('container'),
        labels: {},
      };
      const sides = await world.snapshotter.compareSides({ ...request, signal: new AbortController().signal });
      // No other process sees the mount itself.
      const seen = await sides.withUpper!(async () => {
        const used = (await listLoopDevices()).filter((loop) => loop.image === image);
        return Promise.all(
          used.map(({ device }) => readFile(join('/proc/fs/ext4', basename(device), 'options'), 'utf8')),
        );
      });
      const options = seen.flatMap((text) => text.split('\n'));
      expect(seen).toHaveLength(guestDisks === 'kernel' ? 1 : 0);
      expect(options.filter((option) => /^(ro|rw|errors=.*)$/.test(option)).sort()).toEqual(
        guestDisks === 'kernel' ? ['errors=continue', 'ro'] : [],
      );
    });
  });
});
