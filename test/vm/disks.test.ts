import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { disksFromMounts } from '../../src/vm/disks.js';
import type { Mount } from '../../src/vocabulary.js';

describe('the disks of a Mounts answer', () => {
  const digest = 'a'.repeat(64);
  let folder: string;
  let merged: Mount;
  let layer: Mount;
  let writable: Mount;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    for (const name of ['fsmeta.erofs', 'merged.vmdk', 'rwlayer.img', 'layer.erofs'])
      await writeFile(join(folder, name), 'x');
    merged = mount('format/erofs', 'fsmeta.erofs', [
      'ro',
      'loop',
      `device=${folder}/sha256-${digest}.erofs`,
      `device=${folder}/1/layer.erofs`,
    ]);
    layer = mount('erofs', 'layer.erofs', ['ro', 'loop']);
    writable = mount('ext4', 'rwlayer.img', ['rw', 'loop']);
  });
  afterAll(() => rm(folder, { recursive: true }));

  function mount(type: string, name: string, options: readonly string[]): Mount {
    return { type, source: join(folder, name), target: '', options };
  }

  async function manifest(...lines: readonly string[]): Promise<void> {
    await writeFile(join(folder, 'layers.manifest'), lines.map((line) => `${line}\n`).join(''));
  }

  it('are the descriptor beside the merged image, then the writable layer', async () => {
    await manifest(`sha256:${digest}`, 'blob:layer.erofs');
    expect(await disksFromMounts([merged, writable])).toEqual([
      {
        place: 'root',
        role: 'merged',
        path: join(folder, 'merged.vmdk'),
        format: 'vmdk',
        readOnly: true,
        serial: 'erofs-merged',
      },
      {
        place: 'root',
        role: 'writable',
        path: join(folder, 'rwlayer.img'),
        format: 'raw',
        readOnly: false,
        serial: 'erofs-writable',
      },
    ]);
  });

  it('are the layers, newest first, when they are not merged, with serials that virtio can hold', async () => {
    const disks = await disksFromMounts([...Array<Mount>(128).fill(layer), writable]);
    expect(disks.map((disk) => disk.serial)).toEqual([
      ...Array.from({ length: 128 }, (_, index) => `erofs-layer-${index}`),
      'erofs-writable',
    ]);
    expect(Math.max(...disks.map((disk) => disk.serial.length))).toBeLessThanOrEqual(20);
    expect(disks.map((disk) => disk.readOnly)).toEqual([...Array<boolean>(128).fill(true), false]);
  });

  it.each([
    ['another digest', () => [`sha256:${'b'.repeat(64)}`, 'blob:layer.erofs'], 'line 1'],
    ['another order', () => ['blob:layer.erofs', `sha256:${digest}`], 'line 1'],
    ['a line too few', () => [`sha256:${digest}`], 'line 2'],
    ['a line too many', () => [`sha256:${digest}`, 'blob:layer.erofs', 'blob:more.erofs'], 'line 3'],
    ['a digest where a blob is', () => [`sha256:${digest}`, `sha256:${digest}`], 'line 2'],
  ])('are refused when layers.manifest has %s', async (_, lines, place) => {
    await manifest(...lines());
    await expect(disksFromMounts([merged])).rejects.toMatchObject({
      code: 'data-loss',
      message: expect.stringMatching(new RegExp(`^${place} of .*layers\\.manifest`)) as string,
    });
  });

  it.each<[string, string, () => readonly Mount[]]>([
    ['nothing', 'invalid-argument', () => []],
    ['a bind', 'invalid-argument', () => [mount('bind', 'layer.erofs', ['ro'])]],
    ['an overlay', 'invalid-argument', () => [{ type: 'overlay', source: 'overlay', target: '', options: [] }]],
    ['the writable layer first', 'invalid-argument', () => [writable, layer]],
    ['two writable layers', 'invalid-argument', () => [writable, writable]],
    ['a merged image behind a layer', 'invalid-argument', () => [layer, merged]],
    ['a layer behind a merged image', 'invalid-argument', () => [merged, layer]],
    ['a folder', 'invalid-argument', () => [{ ...layer, source: folder }]],
    ['a file that is not there', 'not-found', () => [mount('erofs', 'absent.erofs', [])]],
  ])('are refused for %s', async (_, code, mounts) => {
    await manifest(`sha256:${digest}`, 'blob:layer.erofs');
    await expect(disksFromMounts(mounts())).rejects.toMatchObject({ code });
  });

  it('are refused when the manifest or the descriptor is missing', async () => {
    await rm(join(folder, 'layers.manifest'));
    await expect(disksFromMounts([merged])).rejects.toMatchObject({ code: 'not-found' });
    await manifest(`sha256:${digest}`, 'blob:layer.erofs');
    await rm(join(folder, 'merged.vmdk'));
    await expect(disksFromMounts([merged])).rejects.toMatchObject({ code: 'not-found' });
  });
});
