import { readdir, readFile, rm, stat, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { isCode } from '../../src/errors.js';
import { setImmutable } from '../../src/host/index.js';
import type { SnapshotInfo } from '../../src/snapshots/index.js';
import { diffIdLabel, hexOf, snapshotRefLabel, type Digest } from '../../src/vocabulary.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';
import { chainOf, commitApplied, digestOf } from './applied.js';

const [a, b, c, d] = ['a', 'b', 'c', 'd'].map(digestOf) as [Digest, Digest, Digest, Digest];

/** What a client says about the layer that it asks for. */
interface Asked {
  readonly ref: string;
  readonly diffId?: string;
  readonly parent?: string;
  readonly namespace?: string;
}

/** Rewrites a record as releases before record version 3 wrote it. */
async function asBeforeRules(path: string): Promise<void> {
  const record = JSON.parse(await readFile(path, 'utf8')) as { layer: Record<string, unknown> };
  const { rules: _unknown, ...layer } = record.layer;
  await writeFile(path, JSON.stringify({ ...record, version: 2, layer }));
}

requires('root', 'mkfs.erofs')('a Prepare that names a layer which is here', () => {
  let world: InProcessWorld;
  let keys = 0;
  beforeEach(async () => {
    world = await makeInProcessWorld();
  });
  afterEach(() => world.close());

  /** Prepares, and tells how it was answered; a snapshot that was prepared is removed again. */
  async function ask({ ref, diffId, parent = '', namespace }: Asked): Promise<'here' | 'prepared'> {
    const key = `x/extract-asked-${(keys += 1)}`;
    const labels = { [snapshotRefLabel]: ref, ...(diffId === undefined ? {} : { [diffIdLabel]: diffId }) };
    try {
      await world.snapshotter.prepare({ key, parent, labels, namespace });
    } catch (error) {
      if (isCode(error, 'already-exists')) return 'here';
      throw error;
    }
    await world.snapshotter.remove(key);
    return 'prepared';
  }

  /** What containerd finds to adopt. */
  async function adoptable({ ref, parent = '', namespace }: Asked): Promise<readonly SnapshotInfo[]> {
    const filter = `labels."${snapshotRefLabel}"==${ref},parent==${JSON.stringify(parent)}`;
    const found: SnapshotInfo[] = [];
    for await (const info of world.snapshotter.list([filter], namespace)) found.push(info);
    return found;
  }

  const commit = (name: string, options: Parameters<typeof commitApplied>[2]) =>
    commitApplied(world.snapshotter, name, options);

  /** The layer's file in every snapshot folder that has it. */
  async function filesOf(digest: Digest): Promise<readonly string[]> {
    const folder = join(world.root, 'snapshots');
    const paths = (await readdir(folder, { recursive: true })).filter((path) =>
      path.endsWith(`${hexOf(digest)}.erofs`),
    );
    return paths.sort().map((path) => join(folder, path));
  }

  async function expectShared(asked: Asked & { readonly diffId: Digest }): Promise<string> {
    const [found, ...others] = await adoptable(asked);
    expect(others).toEqual([]);
    expect(found).toMatchObject({ kind: 'committed', parent: asked.parent ?? '', name: /^shared-layer\/\d+$/ });
    const files = await filesOf(asked.diffId);
    const inodes = await Promise.all(files.map(async (path) => (await stat(path)).ino));
    expect(new Set(inodes).size).toBe(1);
    return found!.name;
  }

  /** The image a ← b in the namespace `one`; d alone, which others build on. */
  async function makeImage(): Promise<void> {
    await commit('one/1/a', { diffId: a, ref: a, namespace: 'one' });
    await commit('one/2/b', { diffId: b, parent: 'one/1/a', ref: chainOf(a, b), namespace: 'one' });
    await commit('two/3/d', { diffId: d, ref: d, namespace: 'two' });
  }
  const onD = { ref: chainOf(d, b), parent: 'two/3/d', namespace: 'two' };

  it('gets the snapshot that stands on the parent already, of whichever namespace, and no new one', async () => {
    await makeImage();
    const asked = { ref: chainOf(a, b), parent: 'one/1/a', namespace: 'two' };
    expect(await ask(asked)).toBe('here');
    expect(await adoptable(asked)).toMatchObject([{ name: 'one/2/b' }]);
    expect(await readdir(join(world.root, 'snapshots'))).toHaveLength(3);
  });

  it.each([
    ['by its diff ID', b],
    ['by the chain ID that follows from it', undefined],
  ])('has it put on another parent %s, as one file with two names', async (_, diffId) => {
    await makeImage();
    expect(await ask({ ...onD, ...(diffId === undefined ? {} : { diffId }) })).toBe('here');
    const name = await expectShared({ ...onD, diffId: b });
    expect((await stat((await filesOf(b))[0]!)).nlink).toBe(2);
    const [mount] = await world.port.view('look', name);
    expect(mount?.options.filter((option) => option.startsWith('device='))).toHaveLength(2);
    // Anything can stand on it, a further layer that is shared too.
    const above = { ref: chainOf(d, b, a), parent: name, namespace: 'two' };
    expect(await ask({ ...above, diffId: a })).toBe('here');
    await expectShared({ ...above, diffId: a });
  });

  it('finds shared layers again after a restart, and after the metadata was lost', async () => {
    await makeImage();
    expect(await ask({ ...onD, diffId: b })).toBe('here');
    const before = await adoptable(onD);
    for (const lose of [false, true]) {
      await world.snapshotter.close();
      if (lose) await rm(join(world.root, 'metadata.db'), { recursive: true });
      await world.reopen();
      expect(await ask({ ...onD, diffId: b })).toBe('here');
      expect(await adoptable(onD)).toEqual(before);
      expect(await ask({ ref: chainOf(d, a), parent: 'two/3/d', diffId: a })).toBe('here');
    }
  });

  it('is answered the same fifty times at once, with one snapshot', async () => {
    await makeImage();
    const answers = await Promise.all(Array.from({ length: 50 }, () => ask({ ...onD, diffId: b })));
    expect(new Set(answers)).toEqual(new Set(['here']));
    await expectShared({ ...onD, diffId: b });
    expect(await readdir(join(world.root, 'snapshots'))).toHaveLength(4);
  });

  it('keeps the layer when the snapshot that had it first is removed and erased', async () => {
    await makeImage();
    expect(await ask({ ...onD, diffId: b })).toBe('here');
    const name = await expectShared({ ...onD, diffId: b });
    await world.port.remove('one/2/b');
    await world.port.remove('one/1/a');
    await world.port.cleanup();
    expect(await ask(onD)).toBe('here');
    await world.reopen();
    expect((await world.port.view('look', name))[0]?.type).toBe('format/erofs');
    expect(await ask({ ref: b, diffId: b })).toBe('here');
    expect(await ask({ ref: a, diffId: a })).toBe('prepared');
  });

  it('is right whichever comes first, it or the removal of the only holder', async () => {
    await makeImage();
    const [answer] = await Promise.all([ask({ ...onD, diffId: b }), world.port.remove('one/2/b')]);
    expect(await adoptable(onD)).toHaveLength(answer === 'here' ? 1 : 0);
    await world.port.cleanup();
    expect(await filesOf(b)).toHaveLength(answer === 'here' ? 1 : 0);
    expect(await ask({ ...onD, diffId: b })).toBe(answer);
  });

  it('does not get the layer when the parent is not the one that the chain ID is about', async () => {
    await makeImage();
    for (const asked of [
      { ref: chainOf(a, b), diffId: b, parent: 'two/3/d' },
      { ref: chainOf(a, b), parent: 'two/3/d' },
      { ref: chainOf(a, b), diffId: b },
      { ref: chainOf(d, b), diffId: a, parent: 'two/3/d' },
    ]) {
      expect(await ask(asked)).toBe('prepared');
    }
    await expect(ask({ ref: chainOf(a, b), diffId: b, parent: 'gone' })).rejects.toMatchObject({ code: 'not-found' });
    // What a container's Commit made has no diff ID, so what stands on it has no chain ID.
    await world.port.prepare('box', 'two/3/d');
    await world.port.commit('saved', 'box');
    expect(await ask({ ref: chainOf(d, c, b), diffId: b, parent: 'saved' })).toBe('prepared');
    expect(await readdir(join(world.root, 'snapshots'))).toHaveLength(4);
  });

  const damages: readonly (readonly [string, (path: string) => Promise<unknown>])[] = [
    ['cut short', (path) => truncate(path, 4096)],
    ['touched', (path) => utimes(path, 1, 1)],
    ['lost', (path) => rm(path)],
  ];

  describe.each(damages)('and is %s', (_, damage) => {
    it('gets that of another holder, and none when there is no other; nothing is left of what failed', async () => {
      await makeImage();
      await commit('three/4/b', { diffId: b, digest: c, namespace: 'three' });
      await damage((await filesOf(b))[0]!);
      expect(await ask({ ...onD, diffId: b })).toBe('here');
      expect(await filesOf(c)).toHaveLength(2);
      for (const path of await filesOf(c)) await damage(path);
      const before = await readdir(join(world.root, 'snapshots'));
      expect(await ask({ ref: chainOf(a, b, b), diffId: b, parent: 'one/2/b' })).toBe('prepared');
      await world.port.cleanup();
      expect(await readdir(join(world.root, 'snapshots'))).toEqual(before);
      expect(await readdir(join(world.root, 'trash'))).toEqual([]);
    });

    it('is pulled again, and only the new one is found', async () => {
      await makeImage();
      const asked = { ref: chainOf(a, b), parent: 'one/1/a', namespace: 'two' };
      await damage((await filesOf(b))[0]!);
      expect(await ask(asked)).toBe('prepared');
      expect(await adoptable(asked)).toEqual([]);
      await commit('two/9/b', { diffId: b, parent: 'one/1/a', ref: asked.ref, namespace: 'two' });
      expect(await ask(asked)).toBe('here');
      expect(await adoptable(asked)).toMatchObject([{ name: 'two/9/b' }]);
      // The garbage collector asks for all, and must see the other one as well.
      expect((await world.port.list()).map(({ name }) => name)).toContain('one/2/b');
    });
  });

  it('does not get what is quarantined', async () => {
    await makeImage();
    await truncate((await filesOf(b))[0]!, 4096);
    await world.reopen();
    expect(await ask({ ...onD, diffId: b })).toBe('prepared');
    expect(await ask({ ref: chainOf(a, b), parent: 'one/1/a' })).toBe('prepared');
  });

  it('does not get a layer that was converted before its rules were noted; it is converted again, and stays served', async () => {
    await makeImage();
    await world.port.view('look', 'one/2/b');
    const mounts = await world.port.mounts('look');
    await world.snapshotter.close();
    await rm(join(world.root, 'metadata.db'), { recursive: true });
    for (const id of [1, 2, 3]) await asBeforeRules(join(world.root, 'snapshots', String(id), 'snapshot.json'));
    await world.reopen();
    const asked = { ref: chainOf(a, b), parent: 'one/1/a', namespace: 'two' };
    expect(await ask({ ...asked, diffId: b })).toBe('prepared');
    expect(await adoptable(asked)).toEqual([]);
    expect(await ask({ ...onD, diffId: b })).toBe('prepared');
    const target = await world.snapshotter.extractTarget(await world.port.prepare('x/extract-again'));
    expect(await target.adoptLayer(b)).toBeUndefined();
    expect(await world.port.mounts('look')).toEqual(mounts);
    await commit('two/9/b', { diffId: b, parent: 'one/1/a', ref: asked.ref, namespace: 'two' });
    expect(await ask(asked)).toBe('here');
    expect(await adoptable(asked)).toMatchObject([{ name: 'two/9/b' }]);
    expect(await ask({ ...onD, diffId: b })).toBe('here');
    const inodes = await Promise.all((await filesOf(b)).map(async (path) => (await stat(path)).ino));
    expect([inodes.length, new Set(inodes).size]).toEqual([3, 2]);
  });

  it('believes the label of its own namespace, and of others only what was measured', async () => {
    const lie = { diffId: c, ref: a, namespace: 'one' };
    await commit('one/1/lie', lie);
    // A plain folder has no diff ID that could say otherwise.
    const labels = { [snapshotRefLabel]: b };
    const [bind] = await world.snapshotter.prepare({ key: 'extract-b', parent: '', labels, namespace: 'one' });
    await writeFile(join(bind!.source, 'file'), 'not what b is');
    await world.snapshotter.commit({ name: 'one/2/folder', key: 'extract-b', labels });
    for (const namespace of ['one', 'two']) {
      expect(await ask({ ref: a, namespace })).toBe('prepared');
      expect(await ask({ ref: b, namespace })).toBe(namespace === 'one' ? 'here' : 'prepared');
      expect(await adoptable({ ref: b, namespace })).toHaveLength(namespace === 'one' ? 1 : 0);
    }
  });

  describe('with share_layers = "namespace"', () => {
    beforeEach(async () => {
      await world.close();
      world = await makeInProcessWorld({ shareLayers: 'namespace' });
      await makeImage();
    });

    it('gets what its own namespace has, and nothing of another, from Prepare, List and Apply alike', async () => {
      const top = { ref: chainOf(a, b), parent: 'one/1/a' };
      for (const [namespace, answer] of [
        ['one', 'here'],
        ['two', 'prepared'],
      ] as const) {
        expect(await ask({ ...top, namespace })).toBe(answer);
        expect(await adoptable({ ...top, namespace })).toHaveLength(answer === 'here' ? 1 : 0);
        expect(await ask({ ref: b, diffId: b, namespace })).toBe(answer);
        const key = `x/extract-${namespace}`;
        const target = await world.snapshotter.extractTarget(
          await world.snapshotter.prepare({ key, parent: '', labels: {}, namespace }),
        );
        expect(await target.adoptLayer(b)).toEqual(answer === 'here' ? { diffId: b, tarBytes: 10_240 } : undefined);
        await world.reopen();
      }
    });

    it('does not find the other namespace’s snapshot beside its own', async () => {
      await commit('two/9/b', { diffId: b, parent: 'one/1/a', ref: chainOf(a, b), namespace: 'two' });
      const asked = { ref: chainOf(a, b), parent: 'one/1/a' };
      expect(await adoptable({ ...asked, namespace: 'one' })).toMatchObject([{ name: 'one/2/b' }]);
      expect(await adoptable({ ...asked, namespace: 'two' })).toMatchObject([{ name: 'two/9/b' }]);
    });

    it('gets nothing of a snapshot whose record does not tell its namespace', async () => {
      const record = join(world.root, 'snapshots', '1', 'snapshot.json');
      const { namespace: _unknown, ...old } = JSON.parse(await readFile(record, 'utf8')) as Record<string, unknown>;
      await world.snapshotter.close();
      await rm(join(world.root, 'metadata.db'), { recursive: true });
      await writeFile(record, JSON.stringify({ ...old, version: 1 }));
      await world.reopen();
      expect(await ask({ ref: a, diffId: a, namespace: 'one' })).toBe('prepared');
    });
  });

  it('leaves an immutable layer immutable, also when one that shared it is erased', async () => {
    await world.close();
    world = await makeInProcessWorld({ setImmutable: true });
    await makeImage();
    expect(await ask({ ...onD, diffId: b })).toBe('here');
    await world.port.remove('one/2/b');
    await world.port.cleanup();
    const [left, ...others] = await filesOf(b);
    expect(others).toEqual([]);
    await expect(writeFile(left!, 'changed')).rejects.toThrow('EPERM');
    for (const digest of [a, b, d]) for (const path of await filesOf(digest)) await setImmutable(path, false);
  });
});
