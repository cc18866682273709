import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectAsClient, type ContainerdClient } from '../../src/containerd/index.js';
import { silentLogger } from '../../src/log.js';
import { requires } from '../harness/requires.js';
import { startContainerd, type PrivateContainerd } from './private-containerd.js';

const { signal } = new AbortController();
const namespace = 'n';

requires('root', 'containerd')("containerd's own services", () => {
  let daemon: PrivateContainerd;
  let containerd: ContainerdClient;
  beforeAll(async () => {
    daemon = await startContainerd();
    containerd = connectAsClient({ address: daemon.address, defaultNamespace: namespace, log: silentLogger() });
  });
  afterAll(async () => {
    containerd.close();
    await daemon.close();
  });

  it('leases: created by name once, found by their labels, deleted as often as one likes', async () => {
    const { leases } = containerd;
    expect(await leases.list(namespace, [], signal)).toEqual([]);
    const lease = { namespace, signal, labels: { 'a/b': 'c' } };
    expect(await leases.createNamed({ ...lease, id: 'one' })).toBe(true);
    expect(await leases.createNamed({ ...lease, id: 'one', labels: {} })).toBe(false);
    expect(await leases.createNamed({ ...lease, id: 'two', labels: {}, lifeMs: 60_000 })).toBe(true);
    const found = await leases.list(namespace, ['labels."a/b"'], signal);
    expect(found).toMatchObject([{ id: 'one', labels: { 'a/b': 'c' } }]);
    const [, two] = await leases.list(namespace, [], signal);
    const ends = Date.parse(two!.labels['containerd.io/gc.expire']!);
    expect(ends - Date.now()).toBeGreaterThan(50_000);
    for (const collect of [false, true, true]) await leases.delete(namespace, 'one', collect);
    await leases.delete(namespace, 'two', true);
    expect(await leases.list(namespace, [], signal)).toEqual([]);
  });

  it('snapshots: come under the lease of the call, and stay as long as it', async () => {
    const { leases } = containerd;
    const snapshots = containerd.snapshots('native', namespace);
    await leases.createNamed({ namespace, id: 'mine', labels: {}, signal });
    await snapshots.prepare({ key: 'key', parent: '', lease: 'mine', signal });
    await snapshots.commit({ name: 'name', key: 'key', labels: { l: 'v' }, lease: 'mine', signal });
    expect(await snapshots.stat('name')).toMatchObject({ name: 'name', kind: 'COMMITTED', labels: { l: 'v' } });
    await expect(snapshots.stat('key')).rejects.toMatchObject({ code: 'not-found' });
    expect(await snapshots.view({ key: 'view', parent: 'name', lease: 'mine', signal })).toHaveLength(1);
    await expect(snapshots.remove('name')).rejects.toMatchObject({ code: 'failed-precondition' });
    await snapshots.remove('view');
    const again = snapshots.prepare({
      key: 'again',
      parent: '',
      labels: { 'containerd.io/snapshot.ref': 'name' },
      lease: 'mine',
      signal,
    });
    await expect(again).rejects.toMatchObject({ code: 'already-exists' });
    await leases.createNamed({ namespace, id: 'other', labels: {}, signal });
    await leases.add(namespace, 'other', { type: 'snapshots/native', id: 'name' }, signal);
    await leases.delete(namespace, 'mine', true);
    expect((await snapshots.stat('name')).name).toBe('name');
    await leases.delete(namespace, 'other', true);
    await expect(snapshots.stat('name')).rejects.toMatchObject({ code: 'not-found' });
  });

  it('a Prepare for a reference that is there puts that snapshot under the lease of the call', async () => {
    const { leases } = containerd;
    const snapshots = containerd.snapshots('native', namespace);
    for (const id of ['first', 'second']) await leases.createNamed({ namespace, id, labels: {}, signal });
    await snapshots.prepare({ key: 'key', parent: '', lease: 'first', signal });
    await snapshots.commit({ name: 'name', key: 'key', lease: 'first', signal });
    const labels = { 'containerd.io/snapshot.ref': 'name' };
    const asked = snapshots.prepare({ key: 'again', parent: '', labels, lease: 'second', signal });
    await expect(asked).rejects.toMatchObject({ code: 'already-exists' });
    await leases.delete(namespace, 'first', true);
    expect((await snapshots.stat('name')).name).toBe('name');
    await leases.delete(namespace, 'second', true);
    await expect(snapshots.stat('name')).rejects.toMatchObject({ code: 'not-found' });
  });

  it('images: found by name, and named when asked for', async () => {
    expect(await containerd.images.names(namespace, signal)).toEqual([]);
    await expect(containerd.images.get('absent', namespace, signal)).rejects.toMatchObject({
      code: 'not-found',
      message: expect.stringContaining('find image "absent" in namespace "n"') as unknown,
    });
  });
});
