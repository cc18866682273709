import { mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';

// Not through the rooms' index files, which offer these to no other room: the benchmark compares exactly this step.
import { mergeArguments } from '../../src/erofs/args.js';
import { MergedImages } from '../../src/snapshots/merged-images.js';
import { SnapshotFolder } from '../../src/snapshots/paths.js';
import { checkErofsTools, convertTar, layerUuid } from '../../src/erofs/index.js';
import { Slots } from '../../src/jobs.js';
import { layerFileName } from '../../src/layers/names.js';
import { silentLogger } from '../../src/log.js';
import { type OldestFirst, parseDigest } from '../../src/vocabulary.js';
import { snapshotterName } from '../rig/containerd.js';
import { LayerTar } from '../rig/layer-tar.js';
import { LayoutWriter } from '../rig/oci-layout.js';
import { RigError, tool } from '../rig/process.js';
import { sync } from './caches.js';
import { fill } from './layers.js';
import { milliseconds, rotated } from './samples.js';
import { forgetImage, pull, type World } from './world.js';

const deadlineMs = 600_000;

/** A merge takes a moment, in which a machine is noisier than over a pull: so many are measured for each round. */
const mergesARound = 4;

/**
 * Merging the image's own layers, and 32 and 128 made ones, into fsmeta.erofs and merged.vmdk by the code of the daemon, against
 * mkfs.erofs with the same arguments on the same layers.
 */
export async function benchMerge(world: World): Promise<void> {
  const folder = join(world.rig.folder, 'merge');
  await pull(world, snapshotterName);
  const layers = await imageLayers(world);
  if (layers.length > 1) await compare(world, 'image', layers, folder);
  else world.results.notMeasured('merge.image', 'the image has a single layer, and nothing is merged');
  await forgetImage(world);
  const made = await makeLayers(world, 128, folder);
  await compare(world, '32', made.slice(0, 32) as unknown as OldestFirst<string>, folder);
  await compare(world, '128', made, folder);
  await rm(folder, { recursive: true });
}

async function compare(world: World, id: string, layers: OldestFirst<string>, folder: string): Promise<void> {
  const { results, rounds, signal } = world;
  const images = new MergedImages({
    tools: await checkErofsTools(),
    slots: new Slots(1),
    deadlineMs,
    log: silentLogger(),
  });
  const contenders = [
    { name: 'ours', title: `merge of ${layers.length} layers, erofs-snapshotter`, run: ours },
    { name: 'mkfs', title: `merge of ${layers.length} layers, bare mkfs.erofs`, run: bare },
  ];
  for (let round = 0; round < rounds * mergesARound; round++) {
    for (const { name, title, run } of rotated(contenders, round)) {
      signal.throwIfAborted();
      const target = join(folder, 'merged');
      await mkdir(target, { recursive: true });
      await sync();
      results.add(`merge.${id}.${name}`, title, 'ms', await milliseconds(() => run(target, round)));
      await rm(target, { recursive: true });
    }
  }

  async function ours(target: string, round: number): Promise<void> {
    // A number of its own each time: what was checked once is not checked again.
    const outcome = await images.ensure(new SnapshotFolder(round + 1, target), layers);
    if (!outcome.merged)
      throw new RigError(`the layers cannot be merged: ${outcome.cause}`, 'see what mkfs.erofs said');
  }

  async function bare(target: string): Promise<void> {
    const args = mergeArguments({ output: join(target, 'fsmeta.erofs'), layers });
    const { exitCode, stderr } = await tool('mkfs.erofs', args, { signal });
    if (exitCode !== 0) throw new RigError(`mkfs.erofs failed: ${stderr}`, 'see what it said');
  }
}

/** The images of the layers that the daemon made by pulling, oldest first. */
async function imageLayers({ rig, image }: World): Promise<OldestFirst<string>> {
  const files = await readdir(rig.root, { recursive: true, withFileTypes: true });
  const paths = image.manifest.layers.map(({ digest }) => {
    const name = layerFileName(parseDigest(digest));
    const found = files.find((entry) => entry.isFile() && entry.name === name);
    if (!found) throw new RigError(`the daemon has no ${name}`, 'look at its log');
    return join(found.parentPath, name);
  });
  return paths as unknown as OldestFirst<string>;
}

/** Layers with files of their own and a folder that all have, so that merging has something to decide. */
async function makeLayers({ quick, signal }: World, count: number, folder: string): Promise<OldestFirst<string>> {
  const size = { folders: quick ? 2 : 12, filesEach: quick ? 10 : 25, fileSize: 3000 };
  await mkdir(folder, { recursive: true });
  const layout = new LayoutWriter(folder);
  await layout.open();
  const paths: string[] = [];
  for (let number = 0; number < count; number++) {
    signal.throwIfAborted();
    const layer = new LayerTar(join(folder, 'layer.tar'));
    await fill(layer, `layer-${number}`, size);
    const { descriptor } = await layer.finish(layout, 'plain');
    const digest = parseDigest(descriptor.digest);
    const tar = join(folder, 'blobs', 'sha256', digest.slice('sha256:'.length));
    const output = join(folder, layerFileName(digest));
    await convertTar({ tar, output, uuid: layerUuid(digest), deadlineMs, signal });
    await rm(tar);
    paths.push(output);
  }
  return paths as unknown as OldestFirst<string>;
}
