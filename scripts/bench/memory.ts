import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { silentLogger } from '../../src/log.js';
import { withScope } from '../../src/scope.js';
import { daemon } from '../rig/daemon.js';
import { type BuiltLayer, LayerTar } from '../rig/layer-tar.js';
import { type Image, LayoutWriter } from '../rig/oci-layout.js';
import { pushImage } from '../rig/push.js';
import { snapshotterName } from '../rig/containerd.js';
import { BenchClient } from './client.js';
import { fill } from './layers.js';
import { ctr, memoryOf, type World } from './world.js';

const atOnce = 8;
const settleMs = 3_000;

/** A fresh daemon each round: idle after its start, then at its peak while eight layers that it does not know are applied at once. */
export async function benchMemory(world: World): Promise<void> {
  const { rig, rounds, results } = world;
  const image = await eightLayers(world, join(rig.folder, 'memory-image'));
  const name = await pushImage(image, rig.registry.host, 'memory', 'latest');
  await rm(image.layout, { recursive: true });
  await ctr(world, ['content', 'fetch', '--plain-http', name]);
  for (let round = 0; round < rounds; round++) {
    const { idle, peak } = await oneRound(world, image);
    results.add('memory.idle', 'memory of the daemon, idle (VmRSS)', 'bytes', idle);
    results.add('memory.peak', 'memory of the daemon, peak during eight conversions at once (VmHWM)', 'bytes', peak);
  }
  await ctr(world, ['images', 'rm', '--sync', name]);
}

function oneRound({ rig, signal }: World, image: Image): Promise<{ idle: number; peak: number }> {
  return withScope(silentLogger(), async (scope) => {
    const root = join(rig.folder, 'eight');
    const config = join(rig.folder, 'eight.toml');
    await writeFile(config, `max_conversions = ${atOnce}\n`);
    scope.defer(root, () => rm(root, { recursive: true, force: true }));
    const address = join(rig.folder, 'eight.sock');
    const service = daemon({ root, address, containerdAddress: rig.containerd.address, args: ['--config', config] });
    scope.defer('daemon', async () => {
      await service.stop();
    });
    await service.start();
    const client = new BenchClient(address, snapshotterName, signal);
    scope.defer('client', () => client.close());
    await client.list();
    await sleep(settleMs, undefined, { signal });
    const idle = await memoryOf(service.pid, 'VmRSS');
    await Promise.all(
      image.manifest.layers.map(async (layer, index) => {
        const mounts = await client.prepare(`bench/${index}/extract-${index}`, '');
        await client.apply(layer, mounts);
      }),
    );
    return { idle, peak: await memoryOf(service.pid, 'VmHWM') };
  });
}

/** Eight layers of equal size and different content. */
async function eightLayers({ quick, signal }: World, folder: string): Promise<Image> {
  await mkdir(folder);
  const layout = new LayoutWriter(folder);
  await layout.open();
  const layers: BuiltLayer[] = [];
  const size = { folders: 10, filesEach: 24, fileSize: quick ? 40_000 : 400_000 };
  for (let number = 0; number < atOnce; number++) {
    signal.throwIfAborted();
    const layer = new LayerTar(join(folder, 'layer.tar'));
    await fill(layer, `layer-${number}`, size);
    layers.push(await layer.finish(layout, 'gzip'));
  }
  return layout.finish('memory', layers);
}
