import { silentLogger } from '../../src/log.js';
import { type Scope, withScope } from '../../src/scope.js';
import { snapshotterName } from '../rig/containerd.js';
import { chainId } from '../rig/oci-layout.js';
import { lastLines } from '../rig/process.js';
import { type BenchClient, isUnimplemented } from './client.js';
import { changeGuestDisk, changeOverlay } from './container.js';
import { milliseconds, rotated } from './samples.js';
import { connect, ctr, forgetImage, imageSnapshot, pull, type World } from './world.js';

const pairsARound = 20;

/** Prepare and Remove of a container's snapshot: what starting and ending a container costs. */
export async function benchPrepare(world: World): Promise<void> {
  const { results, rounds, image } = world;
  await pull(world, snapshotterName);
  await withScope(silentLogger(), async (scope) => {
    const client = connect(scope, world, 'daemon');
    const parent = await imageSnapshot(client, image);
    const pair = async (key: string) => {
      await client.prepare(key, parent);
      await client.remove(key);
    };
    const first = await milliseconds(() => pair('bench/0/first'));
    results.add('prepare.first', 'first Prepare+Remove on the image (it merges the layers)', 'ms', first);
    for (let round = 0; round < rounds; round++) {
      const took = await milliseconds(async () => {
        for (let number = 0; number < pairsARound; number++) await pair(`bench/0/pair-${number}`);
      });
      results.add('prepare.pair', 'Prepare+Remove of a container snapshot', 'ms', took / pairsARound);
      await client.cleanup();
    }
  });
  await forgetImage(world);
}

/** The time of Diff as a client sees it: a view of the parent, the mounts, the diff, and the view's removal. */
export async function benchDiff(world: World): Promise<void> {
  await withChangedContainer(world, async ({ ours, overlay, upper }) => {
    const contenders = [
      {
        id: 'walking',
        title: "Diff of a ten-file change, containerd's walking differ over overlayfs",
        client: overlay,
      },
      { id: 'ours', title: 'Diff of a ten-file change, erofs-snapshotter', client: ours },
    ];
    const { results, image, rounds } = world;
    const parent = chainId(image.diffIds);
    await changeGuestDisk(world, await ours.prepare('changed', parent), upper);
    const reason = await whyNoDiff(world, ours, parent);
    if (reason !== undefined) results.notMeasured('diff.ours', reason);
    const able = contenders.filter(({ id }) => id !== 'ours' || reason === undefined);
    for (let round = 0; round < rounds; round++) {
      for (const { id, title, client } of rotated(able, round)) {
        let digest = '';
        const took = await milliseconds(async () => (digest = await diffAgainstParent(client, parent)));
        results.add(`diff.${id}`, title, 'ms', took);
        await ctr(world, ['content', 'rm', digest]);
      }
    }
    await ours.remove('changed');
  });
}

async function diffAgainstParent(client: BenchClient, parent: string): Promise<string> {
  const lower = await client.view('changed-parent', parent);
  try {
    return await client.diff(lower, await client.mounts('changed'), `bench-${performance.now()}`);
  } finally {
    await client.remove('changed-parent');
  }
}

/** Asks the daemon itself: containerd would go on to the next differ, and answer with that one's error. */
async function whyNoDiff(world: World, ours: BenchClient, parent: string): Promise<string | undefined> {
  return withScope(silentLogger(), async (scope) => {
    const daemon = connect(scope, world, 'daemon');
    const lower = await ours.view('changed-parent', parent);
    try {
      const digest = await daemon.diff(lower, await ours.mounts('changed'), 'bench-probe');
      await ctr(world, ['content', 'rm', digest]);
      return undefined;
    } catch (error) {
      world.signal.throwIfAborted();
      const said = error instanceof Error ? lastLines(error.message, 1) : String(error);
      return isUnimplemented(error)
        ? `the daemon's Diff is not implemented: ${said}`
        : `the daemon's Diff fails: ${said}`;
    } finally {
      await ours.remove('changed-parent');
    }
  });
}

/** Commit has no peer: overlayfs only renames a folder, and makes no image. */
export async function benchCommit(world: World): Promise<void> {
  const { results, image, rounds } = world;
  await withChangedContainer(world, async ({ ours, upper }) => {
    for (let round = 0; round < rounds; round++) {
      const mounts = await ours.prepare('committing', chainId(image.diffIds));
      await changeGuestDisk(world, mounts, upper);
      const took = await milliseconds(() => ours.commit('committed', 'committing'));
      results.add('commit.ours', 'Commit of a container with a ten-file change', 'ms', took);
      await ours.remove('committed');
    }
  });
}

interface Changed {
  readonly ours: BenchClient;
  readonly overlay: BenchClient;
  /** What the ten-file change left in the upper folder of overlayfs. */
  readonly upper: string;
}

async function withChangedContainer(world: World, work: (changed: Changed) => Promise<void>): Promise<void> {
  await pull(world, snapshotterName);
  await pull(world, 'overlayfs');
  await withScope(silentLogger(), async (scope: Scope) => {
    const ours = connect(scope, world, 'containerd');
    const overlay = connect(scope, world, 'containerd', 'overlayfs');
    const mounts = await overlay.prepare('changed', chainId(world.image.diffIds));
    const upper = await changeOverlay(world, mounts);
    await work({ ours, overlay, upper });
    await overlay.remove('changed');
  });
  await forgetImage(world);
}
