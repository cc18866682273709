import { createHash, randomBytes } from 'node:crypto';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { connectContainerd, type Containerd, type NewBlob } from '../../src/containerd/index.js';
import { isCode } from '../../src/errors.js';
import { silentLogger } from '../../src/log.js';
import type { Digest } from '../../src/vocabulary.js';
import { requires } from '../harness/requires.js';
import { run, startContainerd, type PrivateContainerd } from './private-containerd.js';

const digestOf = (bytes: Uint8Array): Digest => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
const failure = (error: unknown) => error;

requires('root', 'containerd')("a blob for containerd's content store", () => {
  let daemon: PrivateContainerd;
  let containerd: Containerd;
  beforeAll(async () => {
    daemon = await startContainerd();
    containerd = connectContainerd({ address: daemon.address, defaultNamespace: 'default', log: silentLogger() });
  });
  afterAll(async () => {
    containerd.close();
    await daemon.close();
  });

  const write = (bytes: Uint8Array, more: Partial<NewBlob> = {}, labels = {}) => {
    async function* content() {
      for (let at = 0; at < bytes.length; at += 300_000) yield await Promise.resolve(bytes.subarray(at, at + 300_000));
    }
    const finished = () => ({ digest: digestOf(bytes), size: bytes.length, labels });
    const { signal } = new AbortController();
    const given = { ref: `test-${randomBytes(4).toString('hex')}`, namespace: 'default', lease: undefined, signal };
    return containerd.blobs.write({ content: content(), finished, ...given, ...more });
  };
  const get = (digest: string) => run('ctr', ['--address', daemon.address, 'content', 'get', digest]);
  const ctr = (...args: string[]) => daemon.ctr(...args);
  const leases = async () => (await ctr('leases', 'ls', '--quiet')).split('\n').filter((id) => id !== '');
  /** Starts a collection and waits for it: deleting a lease does both. */
  const collect = async () => {
    await ctr('leases', 'create', '--id', 'for-collection');
    await ctr('leases', 'delete', '--sync', 'for-collection');
  };

  it('arrives whole, with its labels, and is kept for an hour from garbage collection', async () => {
    const bytes = Buffer.from(randomBytes(2_500_000).toString('hex'));
    await write(bytes, {}, { 'containerd.io/uncompressed': 'sha256:x' });
    await collect();
    expect(await get(digestOf(bytes))).toBe(bytes.toString());
    expect((await containerd.content.info(digestOf(bytes))).labels).toEqual({
      'containerd.io/uncompressed': 'sha256:x',
    });
    const [lease] = await leases();
    await ctr('leases', 'delete', '--sync', lease!);
    await expect(containerd.content.info(digestOf(bytes))).rejects.toMatchObject({ code: 'not-found' });
  });

  it("lies under the caller's own lease when it has one, and goes with it", async () => {
    const bytes = Buffer.from('under a lease');
    await ctr('leases', 'create', '--id', 'mine');
    await write(bytes, { lease: 'mine' });
    expect(await leases()).toEqual(['mine']);
    await collect();
    expect(await get(digestOf(bytes))).toBe('under a lease');
    await ctr('leases', 'delete', '--sync', 'mine');
    await expect(containerd.content.info(digestOf(bytes))).rejects.toMatchObject({ code: 'not-found' });
  });

  it('that is there already gets the labels that it lacks, and comes under the lease', async () => {
    const bytes = Buffer.from('twice');
    await ctr('leases', 'create', '--id', 'first');
    await write(bytes, { lease: 'first' }, { kept: 'old' });
    await ctr('leases', 'create', '--id', 'second');
    await write(bytes, { lease: 'second' }, { kept: 'new', 'containerd.io/uncompressed': 'sha256:y' });
    const labels = { kept: 'old', 'containerd.io/uncompressed': 'sha256:y' };
    expect((await containerd.content.info(digestOf(bytes))).labels).toEqual(labels);
    await ctr('leases', 'delete', '--sync', 'first');
    expect(await get(digestOf(bytes))).toBe('twice');
    await ctr('leases', 'delete', '--sync', 'second');
  });

  it('whose upload fails leaves no upload and no lease: wrong digest, failing source, cancelled, unknown lease', async () => {
    const bytes = randomBytes(2_000_000);
    const wrong = () => ({ digest: digestOf(Buffer.from('other')), size: bytes.length, labels: {} });
    expect(isCode(await write(bytes, { finished: wrong }).catch(failure), 'failed-precondition')).toBe(true);

    const broken = new Error('the disk is gone');
    async function* failing() {
      yield await Promise.resolve(bytes);
      throw broken;
    }
    await expect(write(bytes, { content: failing() })).rejects.toBe(broken);

    const controller = new AbortController();
    async function* cancelled() {
      yield await Promise.resolve(bytes);
      controller.abort(new Error('enough'));
      yield bytes;
    }
    await expect(write(bytes, { content: cancelled(), signal: controller.signal })).rejects.toThrow('enough');
    expect(isCode(await write(bytes, { lease: 'unknown' }).catch(failure), 'not-found')).toBe(true);
    expect((await ctr('content', 'active')).trim().split('\n')).toHaveLength(1);
    expect(await leases()).toEqual([]);
  });

  it('does not disturb another upload of the same name, and says that there is one', async () => {
    let refused: unknown;
    const bytes = Buffer.from('the first');
    async function* content() {
      refused = await write(Buffer.from('the second'), { ref: 'busy' }).catch(failure);
      yield bytes;
    }
    await write(bytes, { ref: 'busy', content: content() });
    expect(isCode(refused, 'unavailable') && refused.message).toMatch(/another upload uses the reference "busy"/);
    expect(await get(digestOf(bytes))).toBe('the first');
  });

  it('is UNAVAILABLE while containerd is down, and goes through when it is back', async () => {
    const bytes = Buffer.from('late');
    await daemon.restart(async () => {
      expect(isCode(await write(bytes).catch(failure), 'unavailable')).toBe(true);
    });
    await expect.poll(() => write(bytes).then(() => true), { timeout: 20_000 }).toBe(true);
    expect(await get(digestOf(bytes))).toBe('late');
  });
});
