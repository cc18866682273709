import { setTimeout as sleep } from 'node:timers/promises';

import { afterAll, beforeAll, expect, it } from 'vitest';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { requires } from '../harness/requires.js';
import { nothingLeft, startWorld, type World } from './world.js';

const ctrSnapshots = ['snapshots', '--snapshotter', snapshotterName];

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
  'demo-packages',
)('a restarted daemon', () => {
  let world: World;

  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(() => world.close());

  /** After a refused connection containerd waits, a second at first, before it tries again; calls fail meanwhile. */
  async function untilContainerdConnects(): Promise<void> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      const { exitCode, stderr } = await world.containerd.tryCtr([...ctrSnapshots, 'prepare', 'attempt']);
      if (exitCode === 0) break;
      if (Date.now() > deadline) throw new Error(stderr);
      await sleep(200);
    }
    await world.client.remove('attempt');
  }

  it.each([
    ['was killed', () => world.daemon.kill()],
    ['was stopped', () => world.daemon.stop()],
  ])('that %s answers with the same mounts, and goes on', async (_, end) => {
    await world.pull();
    const top = world.chain.at(-1)!;
    const before = [await world.client.prepare('container', top), await world.client.view('picture', world.chain[0]!)];
    const listed = await world.client.list();
    await end();
    await world.daemon.start();
    expect([await world.client.mounts('container'), await world.client.mounts('picture')]).toEqual(before);
    expect(await world.client.list()).toEqual(listed);
    await world.client.prepare('another', top);
    for (const key of ['another', 'container', 'picture']) await world.client.remove(key);
    await world.removeImage();
    expect(await world.leftovers()).toEqual(nothingLeft);
  });

  it('that was killed in the middle of a pull is whole again, and the next pull succeeds', async () => {
    for (const delayMs of [150, 300, 450]) {
      const args = ['images', 'pull', '--plain-http', '--snapshotter', snapshotterName, world.name];
      const pulling = world.containerd.tryCtr(args);
      await sleep(delayMs);
      await world.daemon.kill();
      await world.daemon.start();
      // Whether this one pull fails depends on where the kill met it.
      await pulling;
      await untilContainerdConnects();
      await world.pull();
      expect((await world.client.list()).map((info) => info.name).sort()).toEqual([...world.chain].sort());
      await world.removeImage();
      expect(await world.leftovers()).toEqual(nothingLeft);
    }
  });
});
