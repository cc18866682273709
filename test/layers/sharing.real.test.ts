import { readdir, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { convertDirectory, layerUuid } from '../../src/erofs/index.js';
import type { Digest } from '../../src/vocabulary.js';
import { setImmutable } from '../../src/host/index.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';

const digest: Digest = `sha256:${'a'.repeat(64)}`;
const diffId: Digest = `sha256:${'b'.repeat(64)}`;

requires('root', 'mkfs.erofs')('a layer that is here already', () => {
  let world: InProcessWorld;
  let layer: string;
  beforeEach(async () => {
    world = await makeInProcessWorld();
    layer = await apply('extract-1');
    await world.port.commit('first', 'extract-1');
  });
  afterEach(() => world.close());

  /** Prepares a snapshot and gives it a layer, as Apply does; returns the layer's path. */
  async function apply(key: string): Promise<string> {
    const [bind] = await world.port.prepare(key);
    const target = await world.snapshotter.extractTarget([bind!]);
    const output = target.temporary('layer.erofs');
    await writeFile(join(bind!.source, 'file'), 'content');
    const made = { directory: bind!.source, output, uuid: layerUuid(digest), deadlineMs: 60_000 };
    await target.publishLayer(output, { digest, diffId, tarBytes: 10_240, superblock: await convertDirectory(made) });
    return join(bind!.source, '..', `sha256-${'a'.repeat(64)}.erofs`);
  }

  async function adopt(key: string, by: Digest) {
    const target = await world.snapshotter.extractTarget(await world.port.prepare(key));
    return target.adoptLayer(by);
  }

  it.each([
    ['its blob', digest],
    ['its tar', diffId],
  ])('is found by the digest of %s and shared as one file, also after a restart', async (_of, by) => {
    await world.reopen();
    expect(await adopt('extract-2', by)).toEqual({ diffId, tarBytes: 10_240 });
    expect((await stat(layer)).nlink).toBe(2);
    await world.port.commit('second', 'extract-2', { parent: 'first' });
    expect((await world.port.view('look', 'second'))[0]?.options.slice(2)).toHaveLength(2);
  });

  it('is shared by several at once while it is immutable, stays so, and leaves no other name', async () => {
    expect(await setImmutable(layer, true)).toBe(true);
    try {
      const keys = ['extract-2', 'extract-3', 'extract-4'];
      const shared = await Promise.all(keys.map((key) => adopt(key, digest)));
      expect(shared).toEqual(keys.map(() => ({ diffId, tarBytes: 10_240 })));
      expect((await stat(layer)).nlink).toBe(4);
      await expect(writeFile(layer, 'changed')).rejects.toThrow('EPERM');
      const names = await readdir(join(world.root, 'snapshots'), { recursive: true });
      expect(names.filter((name) => name.includes('.tmp-'))).toEqual([]);
    } finally {
      await setImmutable(layer, false);
    }
  });

  it('outlives the snapshot that held it first', async () => {
    await adopt('extract-2', digest);
    await world.port.remove('first');
    await world.port.cleanup();
    await world.port.commit('second', 'extract-2');
    await world.reopen();
    expect((await world.port.view('look', 'second'))[0]?.type).toBe('erofs');
    expect(await adopt('extract-3', digest)).toBeDefined();
  });

  it('is not found when no snapshot holds it', async () => {
    expect(await adopt('extract-2', `sha256:${'c'.repeat(64)}`)).toBeUndefined();
  });

  it.each([
    ['cut short', () => truncate(layer, 4096)],
    ['touched', () => utimes(layer, 1, 1)],
  ])(
    'is not shared when it was %s since it was made, and nothing of it is left in the new snapshot',
    async (_how, damage) => {
      await damage();
      const [bind] = await world.port.prepare('extract-2');
      const target = await world.snapshotter.extractTarget([bind!]);
      expect(await target.adoptLayer(digest)).toBeUndefined();
      expect((await readdir(join(bind!.source, '..'))).sort()).toEqual([
        '.erofs-snapshotter-leveldb',
        '.erofslayer',
        'fs',
        'snapshot.json',
      ]);
    },
  );

  it('is not recorded for another snapshot that took the key while it was applied', async () => {
    const [bind] = await world.port.prepare('extract-2');
    const target = await world.snapshotter.extractTarget([bind!]);
    await world.port.remove('extract-2');
    await world.port.prepare('extract-2');
    await expect(target.adoptLayer(digest)).rejects.toMatchObject({ code: 'not-found' });
    await world.port.commit('second', 'extract-2');
    expect((await world.port.view('look', 'second'))[0]?.source).toMatch(/\/layer\.erofs$/);
  });
});
