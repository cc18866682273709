import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../harness/requires.js';
import { cases } from '../judge/cases.js';
import { dockerArchive, ociArchive } from '../judge/image-archive.js';
import { differences, tell } from '../judge/verdict.js';
import { JudgeWorld } from '../judge/world.js';

requires(
  'root',
  'loop',
  'erofs',
  'overlay',
  'mkfs.erofs',
  'containerd',
  'zstd',
)('an image that containerd imports is what its overlayfs and native snapshotters show of it', () => {
  let world: JudgeWorld;
  beforeAll(async () => {
    world = await JudgeWorld.start();
  });
  afterAll(() => world.close());

  it.each(cases)('$title', async ({ title, layers, paths, dockerArchiveOf }) => {
    const name = `docker.io/case/${String(cases.findIndex((one) => one.title === title))}:latest`;
    const image = dockerArchiveOf === 'zstd' ? dockerArchive(name, layers) : ociArchive(name, layers);
    const since = Date.now() - 1000;
    const overlayfs = await world.imported('overlayfs', image);
    const native = await world.imported('native', image);
    const ours = await world.imported('spin-erofs', image);
    expect(Object.keys('tree' in overlayfs ? overlayfs.tree : {})).toEqual(['/', ...paths]);
    const found = differences({ overlayfs, native, ours, model: undefined, since }).map(tell);
    expect(found).toEqual([]);
  });
});
