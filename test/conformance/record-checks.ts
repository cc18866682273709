import { expect, it } from 'vitest';
import type { ErrorCode } from '../../src/errors.js';
import { wallClock } from '../../src/host/index.js';
import { codeOf, type Info, type World } from './world.js';

const root = { 'containerd.io/gc.root': 'check-walk' };

async function expectCode(code: ErrorCode, call: Promise<unknown>): Promise<void> {
  const outcome = await call.then(
    () => 'success',
    (error: unknown) => codeOf(error) ?? error,
  );
  expect(outcome).toBe(code);
}

async function names(world: World, ...filters: readonly string[]): Promise<string[]> {
  return (await world.port.list(...filters)).map(({ name }) => name).sort();
}

/** c1 ← c2, an active and a view on c2, an active and a view without a parent. */
async function makeFamily({ port }: World): Promise<void> {
  await port.prepare('c1-a');
  await port.commit('c1', 'c1-a');
  await port.prepare('c2-a', 'c1');
  await port.commit('c2', 'c2-a');
  await port.prepare('a1', 'c2');
  await port.prepare('a2');
  await port.view('v1', 'c2');
  await port.view('v2');
}

const family: readonly Pick<Info, 'name' | 'kind' | 'parent'>[] = [
  { name: 'c1', kind: 'committed', parent: '' },
  { name: 'c2', kind: 'committed', parent: 'c1' },
  { name: 'a1', kind: 'active', parent: 'c2' },
  { name: 'a2', kind: 'active', parent: '' },
  { name: 'v1', kind: 'view', parent: 'c2' },
  { name: 'v2', kind: 'view', parent: '' },
];

/** Keys, kinds, parents, labels, removal: what needs no mounted tree. */
export function checkRecords(world: () => World): void {
  checkStat(world);
  checkTakenKeys(world);
  checkRemoval(world);
  checkUpdate(world);
  checkList(world);
  checkReopening(world);
}

function checkStat(world: () => World): void {
  it('Stat tells name, kind, parent and the times of every kind of snapshot', async () => {
    const before = wallClock();
    await makeFamily(world());
    const after = wallClock();
    for (const expected of family) {
      const info = await world().port.stat(expected.name);
      expect(info).toMatchObject(expected);
      expect(info.createdAt).toBeGreaterThanOrEqual(before);
      expect(info.createdAt).toBeLessThanOrEqual(after);
      expect(info.updatedAt).toEqual(info.createdAt);
    }
  });

  it('after Commit the name exists and the key is gone; the parents of a chain follow each other', async () => {
    const { port } = world();
    await makeFamily(world());
    await expectCode('not-found', port.stat('c1-a'));
    await expectCode('not-found', port.mounts('c1-a'));
    const top = await port.stat('c2');
    expect((await port.stat(top.parent)).parent).toBe('');
  });

  it('a snapshot that does not exist is NOT_FOUND to every call', async () => {
    const { port } = world();
    await expectCode('not-found', port.stat('nothing'));
    await expectCode('not-found', port.mounts('nothing'));
    await expectCode('not-found', port.usage('nothing'));
    await expectCode('not-found', port.remove('nothing'));
    await expectCode('not-found', port.update('nothing', {}));
    await expectCode('not-found', port.commit('name', 'nothing'));
    await expectCode('not-found', port.prepare('key', 'nothing'));
    await expectCode('not-found', port.view('key', 'nothing'));
  });

  it('only a committed snapshot can be a parent, and only an active one be committed', async () => {
    const { port } = world();
    await makeFamily(world());
    await expectCode('invalid-argument', port.prepare('key', 'a1'));
    await expectCode('invalid-argument', port.view('key', 'a1'));
    await expectCode('invalid-argument', port.prepare('key', 'v1'));
    await expectCode('failed-precondition', port.commit('name', 'v1'));
    await expectCode('failed-precondition', port.commit('name', 'c2'));
    await expectCode('failed-precondition', port.mounts('c2'));
  });

  it('Mounts repeats what Prepare and View answered', async () => {
    const { port } = world();
    await port.prepare('base-a');
    await port.commit('base', 'base-a');
    const active = await port.prepare('active', 'base');
    const view = await port.view('view', 'base');
    expect(await port.mounts('active')).toEqual(active);
    expect(await port.mounts('view')).toEqual(view);
  });

  it('Usage counts what a snapshot alone occupies, and Cleanup can be called at any time', async () => {
    const { port } = world();
    await makeFamily(world());
    for (const { name } of family) {
      const { bytes, inodes } = await port.usage(name);
      expect(inodes).toBeGreaterThan(0);
      expect(bytes).toBeGreaterThan(0);
    }
    await port.cleanup();
    await port.cleanup();
  });
}

function checkTakenKeys(world: () => World): void {
  it('a key that is taken is taken for Prepare and View alike, whichever kind has it', async () => {
    const { port } = world();
    await makeFamily(world());
    for (const taken of ['a1', 'v1', 'c1']) {
      await expectCode('already-exists', port.prepare(taken, 'c1'));
      await expectCode('already-exists', port.view(taken, 'c1'));
      await expectCode('already-exists', port.commit(taken, 'a2'));
    }
    expect(await port.stat('a2')).toMatchObject({ kind: 'active' });
  });

  it('a key can be used again, as another kind and on another parent, once its snapshot is removed', async () => {
    const { port } = world();
    await port.prepare('committed-a');
    await port.commit('committed-1', 'committed-a');
    await port.prepare('reuse-1', 'committed-1');
    await port.remove('reuse-1');
    await port.view('reuse-1', 'committed-1');
    await port.remove('reuse-1');
    await port.prepare('reuse-1');
    await port.remove('committed-1');
    await port.commit('committed-1', 'reuse-1');
    expect(await port.stat('committed-1')).toMatchObject({ kind: 'committed', parent: '' });
  });

  it('the key of a committed snapshot is free again', async () => {
    const { port } = world();
    await port.prepare('key');
    await port.commit('one', 'key');
    await port.prepare('key', 'one');
    await port.commit('two', 'key');
    expect(await port.stat('two')).toMatchObject({ parent: 'one' });
  });

  it('keys that look like paths stay keys', async () => {
    const { port } = world();
    for (const key of ['../../x', '/', '.', 'a/../b', 'ns/1/../../etc', '..', 'weiß 文']) {
      await port.prepare(key);
      expect((await port.stat(key)).name).toBe(key);
    }
    expect(await names(world())).toHaveLength(7);
  });

  it('a parent named at Commit is the parent of what was prepared without one', async () => {
    const { port } = world();
    await makeFamily(world());
    await port.prepare('late');
    await port.commit('rebased', 'late', { parent: 'c2' });
    expect(await port.stat('rebased')).toMatchObject({ parent: 'c2' });
    await expectCode('invalid-argument', port.commit('x', 'a1', { parent: 'c1' }));
    await expectCode('not-found', port.commit('x', 'a2', { parent: 'nothing' }));
    await expectCode('invalid-argument', port.commit('x', 'a2', { parent: 'v1' }));
  });
}

function checkRemoval(world: () => World): void {
  it('a snapshot with children cannot be removed; children first, all can', async () => {
    const { port } = world();
    await makeFamily(world());
    await expectCode('failed-precondition', port.remove('c2'));
    await expectCode('failed-precondition', port.remove('c1'));
    await port.remove('a1');
    await expectCode('failed-precondition', port.remove('c2'));
    await port.remove('v1');
    await expectCode('failed-precondition', port.remove('c1'));
    await port.remove('c2');
    await port.remove('c1');
    expect(await names(world())).toEqual(['a2', 'v2']);
    await expectCode('not-found', port.remove('c1'));
  });
}

function checkUpdate(world: () => World): void {
  it.each(family)(
    'Update of $name ($kind) changes labels by its mask, and nothing else',
    async ({ name, kind, parent }) => {
      const { port } = world();
      await makeFamily(world());
      const { createdAt } = await port.stat(name);
      const all = { l1: 'v1', l2: 'v2', l3: 'v3', 'containerd.io/gc.root': 'now' };
      const before = wallClock();
      const updated = await port.update(name, all);
      expect(updated).toMatchObject({ name, kind, parent, labels: all, createdAt });
      expect(updated.updatedAt).toBeGreaterThanOrEqual(before);
      const some = await port.update(name, { l1: 'updated', l4: 'v4' }, ['labels.l1', 'labels.l2']);
      expect(some.labels).toEqual({ l1: 'updated', l3: 'v3', 'containerd.io/gc.root': 'now' });
      const dotted = await port.update(name, {}, ['labels.containerd.io/gc.root']);
      expect(dotted.labels).toEqual({ l1: 'updated', l3: 'v3' });
      const replaced = await port.update(name, { l4: 'v4' }, ['labels']);
      expect(replaced.labels).toEqual({ l4: 'v4' });
      await expectCode('invalid-argument', port.update(name, {}, ['parent']));
      await expectCode('invalid-argument', port.update(name, {}, ['labels', 'kind']));
      expect(await port.stat(name)).toEqual(replaced);
    },
  );

  // containerd's stores write no label that has no value, whichever call brings it.
  it('a label without a value is none: Prepare, View, Commit and Update', async () => {
    const { port } = world();
    const given = { kept: 'x', empty: '' };
    await port.prepare('extract-1', '', given);
    expect((await port.stat('extract-1')).labels).toEqual({ kept: 'x' });
    await port.commit('c1', 'extract-1', { labels: given });
    expect((await port.stat('c1')).labels).toEqual({ kept: 'x' });
    await port.view('v1', 'c1', given);
    expect((await port.stat('v1')).labels).toEqual({ kept: 'x' });
    const all = { a: '1', b: '2', c: '3' };
    for (const [labels, paths, expected] of [
      [{ ...all, d: '' }, [], all],
      [{ a: '' }, ['labels.a'], { b: '2', c: '3' }],
      [{ ...all, b: '' }, ['labels'], { a: '1', c: '3' }],
      [{ a: '', c: '' }, ['labels.a', 'labels.c'], {}],
    ] as const) {
      expect((await port.update('c1', labels, paths)).labels).toEqual(expected);
      expect((await port.stat('c1')).labels).toEqual(expected);
    }
  });
}

function checkList(world: () => World): void {
  it('List selects by name, kind, parent and labels; several filters are alternatives', async () => {
    const { port } = world();
    await port.prepare('a-np', '', root);
    await port.prepare('p-tmp', '', root);
    await port.commit('p', 'p-tmp', { labels: root });
    await port.prepare('a', 'p', root);
    await port.view('v', 'p', root);
    await port.prepare('p-wl-tmp', '', root);
    await port.commit('p-wl', 'p-wl-tmp', { labels: { ...root, l: '1' } });
    await port.prepare('a-wl', 'p-wl', { ...root, l: '2' });
    await port.view('v-wl', 'p-wl', { ...root, l: '3' });
    await port.prepare('a-np-wl', '', { ...root, l: '2' });
    const rooted = 'labels."containerd.io/gc.root"==check-walk';
    const rows: [string[], string[]][] = [
      [[], ['a', 'a-np', 'a-np-wl', 'a-wl', 'p', 'p-wl', 'v', 'v-wl']],
      [[rooted], ['a', 'a-np', 'a-np-wl', 'a-wl', 'p', 'p-wl', 'v', 'v-wl']],
      [[`kind==active,${rooted}`], ['a', 'a-np', 'a-np-wl', 'a-wl']],
      [[`kind==view,${rooted}`], ['v', 'v-wl']],
      [[`kind==committed,${rooted}`], ['p', 'p-wl']],
      [
        ['name==p', 'name==a-np-wl'],
        ['a-np-wl', 'p'],
      ],
      [['name==a-wl,labels.l'], ['a-wl']],
      [['parent==p'], ['a', 'v']],
      [[`parent!="",${rooted}`], ['a', 'a-wl', 'v', 'v-wl']],
      [['labels.l'], ['a-np-wl', 'a-wl', 'p-wl', 'v-wl']],
      [['labels.l==2'], ['a-np-wl', 'a-wl']],
      [['name~=/^a-/'], ['a-np', 'a-np-wl', 'a-wl']],
    ];
    for (const [filters, expected] of rows)
      expect(await names(world(), ...filters), filters.join(' or ')).toEqual(expected);
    await expectCode('invalid-argument', port.list('name=='));
  });

  it('List tells what Stat tells, and other calls go on while it runs', async () => {
    await makeFamily(world());
    const { port } = world();
    for (const info of await port.list()) expect(await port.stat(info.name)).toEqual(info);
  });
}

function checkReopening(world: () => World): void {
  it('after a restart every snapshot, label and mount answer is the same', async () => {
    await makeFamily(world());
    await world().port.update('a1', { kept: 'yes' });
    const before = await world().port.list();
    const mounts = await Promise.all(['a1', 'a2', 'v1', 'v2'].map((key) => world().port.mounts(key)));
    await world().reopen();
    expect(await world().port.list()).toEqual(before);
    expect(await Promise.all(['a1', 'a2', 'v1', 'v2'].map((key) => world().port.mounts(key)))).toEqual(mounts);
    await world().port.commit('a1-committed', 'a1');
  });
}
