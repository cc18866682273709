import { beforeEach, describe, expect, it } from 'vitest';
import type { ContainerdClient } from '../../../src/containerd/index.js';
import { CodedError } from '../../../src/errors.js';
import { silentLogger } from '../../../src/log.js';
import type { Chains } from '../../../src/spfs/chains/index.js';
import { importImage } from '../../../src/spfs/import/index.js';
import { imageOf, layerA } from './images.js';

describe('an import of an image', () => {
  const released: boolean[] = [];
  let fail: CodedError | undefined;
  beforeEach(() => {
    released.length = 0;
    fail = undefined;
  });

  const run = (containerd: ContainerdClient, as: 'platform' | 'layer' = 'platform') => {
    const chains = {
      snapshotter: 's',
      hold: () => Promise.resolve({ lease: 'l', release: (collect: boolean) => void released.push(collect) }),
      ensure: () => (fail === undefined ? Promise.resolve() : Promise.reject(fail)),
      prove: () => Promise.resolve(),
    } as unknown as Chains;
    const { signal } = new AbortController();
    return importImage({ containerd, chains, log: silentLogger(), signal, name: 'image', namespace: 'n', as });
  };

  it('with one layer is a layer when that is asked for', async () => {
    const { object, layers, release } = await run(imageOf([layerA]), 'layer');
    expect(object).toMatchObject({ kind: 'layer', digest: layerA.diffId, origin: 'image' });
    expect(layers.map(({ digest }) => digest)).toEqual([layerA.diffId]);
    expect(released).toEqual([]);
    await release();
    expect(released).toEqual([false]);
  });

  it('names a layer once that it has twice, and has it twice in its stack', async () => {
    const { object, layers } = await run(imageOf([layerA, layerA]));
    expect([object.kind === 'platform' && object.layers, layers]).toMatchObject([
      [layerA.diffId, layerA.diffId],
      [{ digest: layerA.diffId }],
    ]);
  });

  it('without layers is refused', async () => {
    await expect(run(imageOf([]))).rejects.toMatchObject({ code: 'failed-precondition' });
  });

  it('gives up what it made when it fails, and says why', async () => {
    const missing = new CodedError('not-found', 'gone', { facts: { layer: layerA.diffId } });
    fail = missing;
    await expect(run(imageOf([layerA]))).rejects.toMatchObject({
      code: 'not-found',
      next: 'run `ctr -n n images pull --snapshotter s image`',
    });
    const mediaType = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
    await expect(run(imageOf([{ ...layerA, mediaType }]))).rejects.toMatchObject({
      code: 'failed-precondition',
      facts: { mediaType },
    });
    fail = new CodedError('unavailable', 'down');
    await expect(run(imageOf([layerA]))).rejects.toBe(fail);
    expect(released).toEqual([true, true, true]);
  });
});
