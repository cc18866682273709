import { join } from 'node:path';

import { snapshotterName } from '../rig/containerd.js';
import { evenCaches, sync } from './caches.js';
import { milliseconds, rotated } from './samples.js';
import { loggedLayers, stagesOfLayers } from './stages.js';
import { fetchOnly, forgetImage, pull, type World } from './world.js';

interface Contender {
  readonly id: 'ours' | 'erofs' | 'overlayfs' | 'fetch';
  readonly title: string;
  readonly run: (world: World) => Promise<void>;
}

const contenders: readonly Contender[] = [
  { id: 'ours', title: 'pull, erofs-snapshotter', run: (world) => pull(world, snapshotterName) },
  { id: 'erofs', title: "pull, containerd's built-in erofs", run: (world) => pull(world, 'erofs') },
  { id: 'overlayfs', title: 'pull, overlayfs', run: (world) => pull(world, 'overlayfs') },
  { id: 'fetch', title: 'fetch only', run: (world) => fetchOnly(world) },
];

/** Namespaces that know the image's content already when they ask for it. */
const again = 'again';
const fetched = 'fetched';

/**
 * Pulls from the registry with nothing of the image here. The snapshotters differ in what they have on disk when they answer, so
 * the time until everything is there (`sync`) is a number of its own.
 */
export async function benchPull(world: World): Promise<void> {
  const { results, withoutErofs } = world;
  if (withoutErofs !== undefined) results.notMeasured('pull.erofs', withoutErofs);
  const able = contenders.filter(({ id }) => id !== 'erofs' || withoutErofs === undefined);
  await pullInRounds(world, able);
}

/** A second namespace asks for an image that the first has. */
export async function benchRepull(world: World): Promise<void> {
  await pullInRounds(
    world,
    contenders.filter(({ id }) => id === 'ours'),
  );
}

async function pullInRounds(world: World, able: readonly Contender[]): Promise<void> {
  const { results, rig, image, signal, rounds } = world;
  const known = new Set(results.measurements.map(({ id }) => id));
  if (known.has('repull.ours')) return;
  for (let round = 0; round < rounds; round++) {
    for (const { id, title, run } of rotated(able, round)) {
      signal.throwIfAborted();
      await forgetImage(world, ['default', again, fetched]);
      await evenCaches(join(rig.folder, 'registry'));
      const pulled = await milliseconds(() => run(world));
      const synced = await milliseconds(sync);
      results.add(`pull.${id}`, title, 'ms', pulled);
      results.add(`pull-synced.${id}`, `${title}, until all is on disk`, 'ms', pulled + synced);
      if (id === 'ours') await pullAgain(world);
    }
  }
  await forgetImage(world, ['default', again, fetched]);
  const digests = image.manifest.layers.map(({ digest }) => digest);
  results.setStages(stagesOfLayers(loggedLayers(rig.daemon.log), digests));
}

/** The fetch alone in a third namespace is the part of it that is not the snapshotter's. */
async function pullAgain(world: World): Promise<void> {
  const { results, rig } = world;
  results.add(
    'repull.fetch',
    'fetch of a known image in another namespace',
    'ms',
    await milliseconds(() => fetchOnly(world, fetched)),
  );
  const converted = () => loggedLayers(rig.daemon.log).length;
  const before = converted();
  results.add(
    'repull.ours',
    're-pull of a known image in another namespace',
    'ms',
    await milliseconds(() => pull(world, snapshotterName, again)),
  );
  results.add('repull.conversions', 'layers that this re-pull converts', 'count', converted() - before);
}
