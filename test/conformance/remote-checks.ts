import { createHash } from 'node:crypto';

import { expect, it } from 'vitest';

import { codeOf, type World } from './world.js';

const refLabel = 'containerd.io/snapshot.ref';
const diffIdLabel = 'containerd.io/snapshot/diff-id';

const sha256 = (text: string) => `sha256:${createHash('sha256').update(text).digest('hex')}`;
const chainOf = (parent: string, diffId: string) => sha256(`${parent} ${diffId}`);

/** containerd's question for what it may adopt. */
const adoptable = (ref: string, parent: string) => `labels."${refLabel}"==${ref},parent==${JSON.stringify(parent)}`;

/** The protocol of remote snapshotters, with layers whose chain ID is known by their label alone. */
export function checkRemote(world: () => World): void {
  const first = sha256('first');
  const second = chainOf(first, sha256('second'));

  /** Commits a layer as an unpacker does, with the label on both calls. */
  async function unpack(name: string, parent: string, ref: string): Promise<void> {
    const labels = { [refLabel]: ref };
    await world().port.prepare(`x/extract-${name}`, parent, labels);
    await world().port.commit(name, `x/extract-${name}`, { labels });
  }

  const codeOfPrepare = (key: string, parent: string, labels: Record<string, string>) =>
    world()
      .port.prepare(key, parent, labels)
      .then(() => 'prepared', codeOf);

  it.each(['x/extract-again', 'any key'])(
    'Prepare (%s) of a layer that is committed on that parent is ALREADY_EXISTS, and List finds it',
    async (key) => {
      await unpack('c1', '', first);
      await world().port.prepare('box', 'c1');
      await world().port.commit('c2', 'box', { labels: { [refLabel]: second } });
      for (const reopened of [false, true]) {
        if (reopened) await world().reopen();
        expect(await codeOfPrepare(key, '', { [refLabel]: first })).toBe('already-exists');
        expect(await codeOfPrepare(key, 'c1', { [refLabel]: second, other: 'label' })).toBe('already-exists');
        const found = await world().port.list(adoptable(second, 'c1'));
        expect(found).toMatchObject([{ name: 'c2', kind: 'committed', parent: 'c1', labels: { [refLabel]: second } }]);
        expect(await world().port.list(adoptable(second, ''))).toEqual([]);
        expect((await world().port.list()).map(({ name }) => name)).toEqual(['c1', 'c2']);
      }
    },
  );

  it('Prepare without the label, and View with it, are never answered with a layer that exists', async () => {
    await unpack('c1', '', first);
    expect(await codeOfPrepare('plain', '', {})).toBe('prepared');
    expect(await codeOfPrepare('diff ID alone', '', { [diffIdLabel]: first })).toBe('prepared');
    await world().port.view('view', '', { [refLabel]: first });
    expect((await world().port.list('kind!=committed')).map(({ name }) => name)).toEqual([
      'diff ID alone',
      'plain',
      'view',
    ]);
  });

  it.each<[string, string, Record<string, string>]>([
    ['on another parent', 'c2', { [refLabel]: first }],
    ['that no snapshot has', '', { [refLabel]: second }],
    ['whose diff ID does not lead to it', '', { [refLabel]: first, [diffIdLabel]: sha256('other') }],
    ['that is empty', '', { [refLabel]: '' }],
    ['that is no digest', '', { [refLabel]: '"],parent!=' }],
    ['with a diff ID that is no digest', '', { [refLabel]: first, [diffIdLabel]: 'sha256:short' }],
    ['spelled in upper case', '', { [refLabel]: first.toUpperCase() }],
  ])('Prepare of a chain ID %s is an ordinary one', async (_, parent, labels) => {
    await unpack('c1', '', first);
    await unpack('c2', '', sha256('elsewhere'));
    expect(await codeOfPrepare('x/extract-new', parent, labels)).toBe('prepared');
    // A label without a value is none.
    const kept = Object.fromEntries(Object.entries(labels).filter(([, value]) => value !== ''));
    const found = await world().port.stat('x/extract-new');
    expect(found).toMatchObject({ kind: 'active', parent });
    expect(found.labels).toEqual(kept);
  });

  it('the errors of Prepare are the same with the label', async () => {
    await unpack('c1', '', first);
    await world().port.prepare('active');
    expect(await codeOfPrepare('key', 'nothing', { [refLabel]: first })).toBe('not-found');
    expect(await codeOfPrepare('key', 'active', { [refLabel]: first })).toBe('invalid-argument');
    expect(await codeOfPrepare('active', '', { [refLabel]: second })).toBe('already-exists');
    expect(await world().port.list(adoptable(second, ''))).toEqual([]);
  });

  it('a layer that was removed, or whose label was taken away, is not found any more', async () => {
    await unpack('c1', '', first);
    await world().port.update('c1', {}, [`labels.${refLabel}`]);
    expect(await world().port.list(adoptable(first, ''))).toEqual([]);
    expect(await codeOfPrepare('one', '', { [refLabel]: first })).toBe('prepared');
    await world().port.update('c1', { [refLabel]: first }, ['labels']);
    expect(await codeOfPrepare('two', '', { [refLabel]: first })).toBe('already-exists');
    await world().port.remove('c1');
    expect(await codeOfPrepare('three', '', { [refLabel]: first })).toBe('prepared');
  });
}
