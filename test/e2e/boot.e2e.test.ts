import { afterAll, beforeAll, expect, it } from 'vitest';

import { demoScript, writtenFile, writtenText } from '../../scripts/rig/demo-commands.js';
import { readFromExt4 } from '../../scripts/rig/ext4-file.js';
import { busybox, guestKernel } from '../../scripts/rig/kernel.js';
import { type CollectedResult, runInGuest } from '../../scripts/rig/run-in-guest.js';
import type { Mount } from '../../src/vocabulary.js';
import { requires } from '../harness/requires.js';
import { startWorld, type World } from './world.js';

const needed = ['root', 'mkfs.erofs', 'containerd', 'registry', 'demo-packages', 'qemu', 'guest-kernel'] as const;

requires(...needed)('a guest from a pulled image', () => {
  let world: World;

  beforeAll(async () => {
    world = await startWorld();
    await world.pull();
  });
  afterAll(() => world.close());

  function run(mounts: readonly Mount[], script: string): Promise<CollectedResult> {
    return runInGuest({ disks: { mounts }, argv: ['/bin/sh', '-c', script], kernel: guestKernel, busybox });
  }

  it('sees what the layers hold and what they delete, and writes into its own layer', async () => {
    const mounts = await world.client.prepare('container', world.chain.at(-1)!);
    const result = await run(mounts, demoScript);
    expect([result.exitCode, result.output.toString()]).toEqual([0, expect.stringContaining('cap_net_raw=ep')]);
    expect(await readFromExt4(mounts.at(-1)!.source, `/upper${writtenFile}`)).toBe(`${writtenText}\n`);
  });

  it('finds what an earlier guest wrote, also when that was committed', async () => {
    const script = `cat ${writtenFile}; rm /etc/image-id`;
    expect((await run(await world.client.mounts('container'), script)).output.toString()).toBe(`${writtenText}\n`);
    await world.snapshots('commit', 'committed', 'container');
    const mounts = await world.client.prepare('child', 'committed');
    const result = await run(mounts, `cat ${writtenFile}; ls /etc/image-id; stat -c '%a %U' / /opt/app/setuid`);
    expect(result.output.toString()).toBe(
      `${writtenText}\nls: cannot access '/etc/image-id': No such file or directory\n755 root\n4755 root\n`,
    );
  });

  it.each([
    ['one layer', 1],
    ['all layers', 5],
  ])('has a View of %s read-only', async (_, count) => {
    const mounts = await world.client.view(`view-${count}`, world.chain[count - 1]!);
    const result = await run(mounts, 'touch /new; ls -d /usr');
    expect(result.output.toString()).toBe("touch: cannot touch '/new': Read-only file system\n/usr\n");
  });
});
