import { afterEach, beforeEach } from 'vitest';
import { requires } from '../harness/requires.js';
import { checkContent } from './content-checks.js';
import { Guest } from './guest-mounts.js';
import { checkRecords } from './record-checks.js';
import { checkRemote } from './remote-checks.js';
import type { MakeWorld, World } from './world.js';

/**
 * containerd's contract for snapshotters, checked on every world that `makeWorld` can make. What containerd mounts by itself is
 * mounted here as a guest mounts its disks.
 *
 * @param depth layers of the longest chain
 */
export function describeSnapshotter(name: string, makeWorld: MakeWorld, { depth }: { readonly depth: number }): void {
  requires(
    'root',
    'loop',
    'erofs',
    'ext4',
    'overlay',
    'mkfs.erofs',
  )(`${name} keeps containerd's contract`, () => {
    let world: World;
    let guest: Guest;
    beforeEach(async () => {
      world = await makeWorld();
      guest = await Guest.open();
    });
    afterEach(async () => {
      await guest.close();
      await world.close();
    });
    checkRecords(() => world);
    checkRemote(() => world);
    checkContent(
      () => world,
      () => guest,
      depth,
    );
  });
}
