import { afterAll, beforeAll, expect, it } from 'vitest';
import { requires } from '../harness/requires.js';
import { layerOf } from '../judge/items.js';
import { manyHold, manyMs } from '../judge/many.js';
import { modelOf } from '../judge/model.js';
import { oddImage } from '../judge/odd-headers.js';
import { randomImage } from '../judge/random-image.js';
import { differences, modelFaults, tell, type Hearing } from '../judge/verdict.js';
import { JudgeWorld } from '../judge/world.js';

requires(
  'root',
  'loop',
  'erofs',
  'overlay',
  'mkfs.erofs',
  'containerd',
)('what a program sees of generated layers is what containerd shows of them, or what the specification says', () => {
  let world: JudgeWorld;
  beforeAll(async () => {
    world = await JudgeWorld.start();
  });
  afterAll(() => world.close());

  async function hear(layers: readonly Buffer[], model: Hearing['model']): Promise<Hearing> {
    const blobs = await world.ingest(layers);
    const since = Date.now() - 1000;
    const [overlayfs, native, ours] = await Promise.all([
      world.stack('overlayfs', blobs),
      world.stack('native', blobs),
      world.stack('spin-erofs', blobs),
    ]);
    return { overlayfs, native, ours, model, since };
  }

  it('layered images', { timeout: manyMs }, async () => {
    let [heard, agreed] = [0, 0];
    await manyHold(randomImage, async ({ layers, styles }) => {
      const tars = layers.map((items, index) => layerOf(items, styles[index]));
      const hearing = await hear(tars, modelOf(layers));
      heard += 1;
      if ('tree' in hearing.overlayfs && 'tree' in hearing.native) agreed += 1;
      return [...modelFaults(hearing), ...differences(hearing).map(tell)];
    });
    expect(agreed, 'containerd refused nearly all').toBeGreaterThan(heard / 3);
  });

  it('odd headers', { timeout: manyMs }, async () => {
    let [heard, accepted] = [0, 0];
    await manyHold(oddImage, async ({ layers }) => {
      const hearing = await hear(layers, undefined);
      heard += 1;
      if ('tree' in hearing.overlayfs) accepted += 1;
      return differences(hearing).map(tell);
    });
    expect(accepted, 'containerd refused nearly all').toBeGreaterThan(heard / 5);
  });
});
