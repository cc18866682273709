import { describe, expect, test } from 'vitest';
import type { ErrorCode } from '../../src/errors.js';
import { MetadataStore } from '../../src/metadata/index.js';
import { listedOldestFirst } from '../../src/vocabulary.js';
import { coded, collect, freshFolder, insert, insertChain, log, openStore, recordOf } from './support.js';

describe('records', () => {
  test('what was inserted is read back whole, also after reopening', async () => {
    const folder = await freshFolder();
    const store = await MetadataStore.open(folder, log);
    expect(store.created).toBe(true);
    await insertChain(store, 2);
    const record = await insert(store, {
      key: 'default/7/../../x "quoted" \u00fc\n',
      parent: 'layer-2',
      labels: { 'containerd.io/gc.root': 'yes', 'with.dot/and=equals': '' },
      writableBytes: 64 << 20,
      serve: {
        shape: 'image',
        image: 'merged',
        merged: { id: 2, plan: { rules: 'mkfs', inlays: [] } },
        layers: listedOldestFirst([1, 2].map((id) => ({ id, file: 'layer.erofs' }))),
        writable: true,
      },
    });
    await store.close();
    const again = await openStore(folder);
    expect(again.created).toBe(false);
    expect(await again.get(record.key)).toEqual(record);
    expect(await again.byId(record.id)).toEqual(record);
    expect(await again.count()).toBe(3);
  });

  test('all() walks in the order of the bytes of the keys', async () => {
    const store = await openStore();
    const keys = ['b', 'a', 'a/b', 'A', '\u{1F600}', '\uFFFD', 'z', 'ä', '!', '"'];
    for (const key of keys) await insert(store, { key });
    const walked = (await collect(store.all())).map((record) => record.key);
    expect(walked).toEqual([...keys].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right))));
  });

  test('all() shows one point in time, however the store changes meanwhile', async () => {
    const store = await openStore();
    for (const key of ['a', 'b', 'c']) await insert(store, { key });
    const seen: string[] = [];
    for await (const record of store.all()) {
      seen.push(record.key);
      if (seen.length > 1) continue;
      await insert(store, { key: 'aa' });
      await store.exclusive('delete', (tx) => tx.delete('b'));
    }
    expect(seen).toEqual(['a', 'b', 'c']);
    expect((await collect(store.all())).map((record) => record.key)).toEqual(['a', 'aa', 'c']);
  });

  test.each([
    ['empty', ''],
    ['longer than 4096 bytes', 'ü'.repeat(2049)],
    ['with NUL', 'a\0b'],
    ['with half a character', 'a\ud800'],
  ])('a key that is %s is refused and changes nothing', async (_what, key) => {
    const store = await openStore();
    await expect(insert(store, { key })).rejects.toEqual(coded('invalid-argument'));
    expect(await store.count()).toBe(0);
  });

  test('labels beyond 4096 bytes or without a key are refused', async () => {
    const store = await openStore();
    await insert(store, { key: 'fits', labels: { k: 'v'.repeat(4095) } });
    await expect(insert(store, { key: 'long', labels: { kk: 'v'.repeat(4095) } })).rejects.toEqual(
      coded('invalid-argument'),
    );
    await expect(insert(store, { key: 'anonymous', labels: { '': 'v' } })).rejects.toEqual(coded('invalid-argument'));
  });
});

describe('parents and children', () => {
  test('children follow insert, rename and delete, and keys that share a prefix do not mix', async () => {
    const store = await openStore();
    await insertChain(store, 1, 'p');
    await insertChain(store, 1, 'p1');
    await insert(store, { key: 'b', parent: 'p1' });
    await insert(store, { key: 'a', parent: 'p1' });
    await insert(store, { key: 'other', parent: 'p11' });
    expect(await store.children('p1')).toEqual(['a', 'b']);
    const b = (await store.get('b'))!;
    await store.exclusive('commit', (tx) =>
      tx.rename('b', recordOf({ id: b.id, key: 'c', kind: 'committed', parent: 'p1' })),
    );
    expect(await store.children('p1')).toEqual(['a', 'c']);
    expect(await store.get('b')).toBeUndefined();
    expect((await store.byId(b.id))?.key).toBe('c');
    for (const key of ['a', 'c']) await store.exclusive('remove', (tx) => tx.delete(key));
    expect(await store.children('p1')).toEqual([]);
    expect(await store.children('')).toEqual([]);
  });

  test('commit may name another parent: the index follows', async () => {
    const store = await openStore();
    await insertChain(store, 2);
    const record = await insert(store, { key: 'unpack' });
    const committed = recordOf({ id: record.id, key: 'name', kind: 'committed', parent: 'layer-2' });
    await store.exclusive('commit', (tx) => tx.rename('unpack', committed));
    expect(await store.children('layer-2')).toEqual(['name']);
  });

  test.each([
    ['a missing parent', 'nobody', 'not-found'],
    ['a parent that is not committed', 'active', 'invalid-argument'],
    ['itself as parent', 'child', 'not-found'],
  ])('%s is refused', async (_what, parent, code) => {
    const store = await openStore();
    await insert(store, { key: 'active' });
    await expect(insert(store, { key: 'child', parent })).rejects.toEqual(coded(code as ErrorCode));
  });

  test('refused: a taken key, a taken name, a removal with children, an absent key, a changed id', async () => {
    const store = await openStore();
    await insertChain(store, 1);
    const child = await insert(store, { key: 'child', parent: 'layer-1' });
    await expect(insert(store, { key: 'child' })).rejects.toEqual(coded('already-exists'));
    const rename = recordOf({ id: child.id, key: 'layer-1', kind: 'committed', parent: 'layer-1' });
    await expect(store.exclusive('commit', (tx) => tx.rename('child', rename))).rejects.toEqual(
      coded('already-exists'),
    );
    await expect(store.exclusive('rm', (tx) => tx.delete('layer-1'))).rejects.toEqual(coded('failed-precondition'));
    await expect(store.exclusive('rm', (tx) => tx.delete('nobody'))).rejects.toEqual(coded('not-found'));
    const moved = { ...child, id: 99 };
    await expect(store.exclusive('update', (tx) => tx.replace(moved))).rejects.toEqual(coded('internal'));
    await expect(insert(store, { id: child.id, key: 'twin' })).rejects.toEqual(coded('internal'));
    expect((await collect(store.all())).map((record) => record.key)).toEqual(['child', 'layer-1']);
  });

  test('a chain is the newest first, of 128 layers too', async () => {
    const store = await openStore();
    await insertChain(store, 128);
    const chain = await store.chain('layer-128');
    expect(chain.map((record) => record.key)).toEqual(Array.from({ length: 128 }, (_, at) => `layer-${128 - at}`));
    expect(await store.chain('')).toEqual([]);
  });

  test('a chain of an absent or active key is the caller’s mistake', async () => {
    const store = await openStore();
    await insert(store, { key: 'active' });
    await expect(store.chain('nobody')).rejects.toEqual(coded('not-found'));
    await expect(store.chain('active')).rejects.toEqual(coded('invalid-argument'));
  });
});

describe('exclusive', () => {
  test('reads inside see the writes made so far; readers outside see them all or none', async () => {
    const store = await openStore();
    await insertChain(store, 1);
    await store.exclusive('check', async (tx) => {
      await tx.insert(recordOf({ id: tx.nextId(), key: 'a', parent: 'layer-1' }));
      expect((await tx.get('a'))?.key).toBe('a');
      expect(await tx.children('layer-1')).toEqual(['a']);
      expect(await store.get('a')).toBeUndefined();
      await tx.delete('a');
      expect(await tx.get('a')).toBeUndefined();
      expect(await tx.children('layer-1')).toEqual([]);
      await tx.insert(recordOf({ id: tx.nextId(), key: 'a' }));
      await tx.delete('layer-1');
    });
    expect((await collect(store.all())).map((record) => record.key)).toEqual(['a']);
    expect(await store.children('layer-1')).toEqual([]);
  });

  test('nothing is written when the work throws, and its error comes out as it is', async () => {
    const store = await openStore();
    const cause = new Error('mine');
    const failing = store.exclusive('fail', async (tx) => {
      await tx.insert(recordOf({ id: tx.nextId(), key: 'a' }));
      throw cause;
    });
    await expect(failing).rejects.toBe(cause);
    expect(await store.count()).toBe(0);
    expect(await collect(store.all())).toEqual([]);
  });

  test('writers take turns in the order they came, also when some fail', async () => {
    const store = await openStore();
    const order: number[] = [];
    let inside = 0;
    const turns = Array.from({ length: 50 }, (_, turn) =>
      store
        .exclusive(`turn ${turn}`, async (tx) => {
          inside += 1;
          expect(inside).toBe(1);
          await tx.get('any');
          order.push(turn);
          inside -= 1;
          if (turn % 7 === 0) throw new Error('on purpose');
        })
        .catch(() => undefined),
    );
    await Promise.all(turns);
    expect(order).toEqual(Array.from({ length: 50 }, (_, turn) => turn));
  });

  test('a transaction inside a transaction is refused instead of waiting for itself', async () => {
    const store = await openStore();
    const nested = store.exclusive('outer', () => store.exclusive('inner', () => Promise.resolve()));
    await expect(nested).rejects.toEqual(coded('internal'));
    await store.exclusive('after', () => Promise.resolve());
  });

  test('work that outlives its transaction is refused', async () => {
    const store = await openStore();
    const tx = await store.exclusive('leak', (leaked) => Promise.resolve(leaked));
    await expect(tx.insert(recordOf({ id: 1, key: 'late' }))).rejects.toEqual(coded('internal'));
  });

  test('a slow holder is logged with its reason', async () => {
    const folder = await freshFolder();
    const lines: unknown[] = [];
    const noting = Object.assign(Object.create(log) as typeof log, { warn: (facts: unknown) => lines.push(facts) });
    const store = await MetadataStore.open(folder, noting);
    await store.exclusive('slow work', () => new Promise((resolve) => setTimeout(resolve, 1050)));
    await store.exclusive('quick work', () => Promise.resolve());
    await store.close();
    expect(lines).toEqual([expect.objectContaining({ reason: 'slow work' })]);
  });

  test('close waits for the transactions asked for and refuses later ones', async () => {
    const folder = await freshFolder();
    const store = await MetadataStore.open(folder, log);
    const queued = Array.from({ length: 10 }, (_, at) => insert(store, { key: `k${at}` }));
    const closed = store.close();
    await expect(insert(store, { key: 'late' })).rejects.toEqual(coded('unavailable'));
    await Promise.all([...queued, closed, store.close()]);
    expect(await (await openStore(folder)).count()).toBe(10);
  });
});

describe('ids', () => {
  test('only grow: across deletes, failures and restarts', async () => {
    const folder = await freshFolder();
    const given: number[] = [];
    for (let round = 0; round < 3; round += 1) {
      const store = await MetadataStore.open(folder, log);
      given.push((await insert(store, { key: 'a' })).id);
      await store.exclusive('remove', (tx) => tx.delete('a'));
      const failing = store.exclusive('fail', (tx) => {
        given.push(tx.nextId());
        return Promise.reject(new Error('on purpose'));
      });
      await expect(failing).rejects.toThrow('on purpose');
      await store.exclusive('just an id', (tx) => Promise.resolve(given.push(tx.nextId())));
      await store.close();
    }
    expect(given).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('go on after those reserved, skipped or adopted, also after a restart', async () => {
    const folder = await freshFolder();
    const store = await MetadataStore.open(folder, log);
    expect([store.reserveId(), store.reserveId()]).toEqual([1, 2]);
    expect((await insert(store, { key: 'a' })).id).toBe(3);
    store.skipIds(10);
    store.skipIds(4);
    expect((await insert(store, { key: 'b' })).id).toBe(11);
    await store.exclusive('adopt', (tx) => tx.insert(recordOf({ id: 40, key: 'adopted' })));
    await store.close();
    expect((await insert(await openStore(folder), { key: 'c' })).id).toBe(41);
  });
});
