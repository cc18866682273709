import { mkdir, readdir, readFile, rename, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished, vi } from 'vitest';
import { LayerDiffer } from '../../src/diff/index.js';
import { isCode, SnapshotterError, type ErrorCode } from '../../src/errors.js';
import { Slots } from '../../src/jobs.js';
import type { ExtractTarget } from '../../src/layers/index.js';
import type { Digest } from '../../src/vocabulary.js';
import { silentLogger } from '../../src/log.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { digestOf, gzip } from './apply-world.js';
import { tar } from './tar-builder.js';

const layer = (name: string) =>
  gzipSync(tar({ name: './', type: '5', mode: 0o755 }, { name, data: name.repeat(5000) }));

/** An image of these blobs in a content store that counts how often each is opened; a blob can be missing at first. */
async function imageWorld(blobs: readonly Buffer[], atOnce = 1, diffIds: readonly Digest[] = []) {
  const base = await temporaryFolder();
  const ahead = join(base, 'ahead');
  await mkdir(ahead);
  const missing = new Set<string>();
  const failing: ErrorCode[] = [];
  const opened = new Map<string, number>();
  const arrivals = new PassThrough({ objectMode: true });
  onTestFinished(() => void arrivals.end());
  const descriptors = blobs.map((blob) => ({ mediaType: gzip, digest: digestOf(blob), size: blob.length }));
  for (const [index, blob] of blobs.entries()) await writeFile(join(base, descriptors[index]!.digest), blob);
  const content = {
    info: async (digest: string) => {
      if (missing.has(digest)) throw new SnapshotterError('not-found', 'not complete yet');
      return Promise.resolve({ labels: {} });
    },
    open: async ({ digest }: { digest: string }) => {
      const code = failing.pop();
      if (code) throw new SnapshotterError(code, 'as the test wants it');
      opened.set(digest, (opened.get(digest) ?? 0) + 1);
      const path = join(base, digest);
      return { kind: 'file' as const, path, size: (await stat(path)).size };
    },
    completed: async function* () {
      for await (const _ of arrivals) yield;
    },
    layersAfter: (_digest: string, position: number) =>
      Promise.resolve(
        descriptors
          .slice(position + 1)
          .map((descriptor) => ({ descriptor, diffId: diffIds[descriptors.indexOf(descriptor)] })),
      ),
  };
  const bounds = { slots: new Slots(2), conversionTimeoutMs: 60_000, maxLayerBytes: 2 ** 40, aheadAtOnce: atOnce };
  const differ = new LayerDiffer({ content, ...bounds, log: silentLogger() });
  onTestFinished(() => differ.close());
  let made = 0;
  const held = new Set<string>();
  const targetAt = (position: number): ExtractTarget => ({
    id: position + 1,
    diffId: undefined,
    position: () => Promise.resolve(position),
    temporary: (purpose) => join(base, `.tmp-${++made}-${purpose}`),
    aheadTemporary: (purpose) => join(ahead, `.tmp-${++made}-${purpose}`),
    holds: (digest) => held.has(digest),
    adoptLayer: () => Promise.resolve(undefined),
    publishLayer: async (path, { digest }) => {
      await rename(path, join(base, `layer-${position}.erofs`));
      held.add(digest);
    },
  });
  const apply = (position: number) =>
    differ.apply({
      descriptor: descriptors[position]!,
      target: targetAt(position),
      namespace: 'default',
      signal: new AbortController().signal,
    });
  const images = async () => (await readdir(ahead)).filter((name) => name.endsWith('.erofs'));
  const failOnce = (code: ErrorCode) => failing.push(code);
  return { apply, arrivals, failOnce, differ, missing, opened, descriptors, ahead, base, images };
}

requires('mkfs.erofs')('layers ahead', () => {
  it('are converted once, while containerd is busy with those before, and used when it asks', async () => {
    const world = await imageWorld([layer('a'), layer('b'), layer('c')]);
    await world.apply(0);
    await vi.waitFor(async () => expect(await world.images()).toHaveLength(2), 20_000);
    const diffs = [await world.apply(1), await world.apply(2)];
    expect(diffs.map(({ digest }) => digest)).toEqual(
      ['b', 'c'].map((name) =>
        digestOf(tar({ name: './', type: '5', mode: 0o755 }, { name, data: name.repeat(5000) })),
      ),
    );
    expect([...world.opened.values()]).toEqual([1, 1, 1]);
    expect(await readdir(world.ahead)).toEqual([]);
    expect((await readdir(world.base)).filter((name) => name.startsWith('.tmp'))).toEqual([]);
  });

  it('are as bytes what they are without it', async () => {
    const blobs = [layer('a'), layer('b')];
    const [ahead, without] = [await imageWorld(blobs, 1), await imageWorld(blobs, 0)];
    for (const world of [ahead, without]) for (const position of [0, 1]) await world.apply(position);
    const images = await Promise.all([ahead, without].map(({ base }) => readFile(join(base, 'layer-1.erofs'))));
    expect(images[0]).toEqual(images[1]);
  });

  it('wait for a blob that is not complete, and are looked at again with the next layer', async () => {
    const world = await imageWorld([layer('a'), layer('b'), layer('c')]);
    world.missing.add(world.descriptors[1]!.digest).add(world.descriptors[2]!.digest);
    await world.apply(0);
    expect(await world.images()).toEqual([]);
    world.missing.clear();
    await world.apply(1);
    await vi.waitFor(async () => expect(await world.images()).toHaveLength(1), 20_000);
  });

  it('begin as soon as their blob arrives', async () => {
    const world = await imageWorld([layer('a'), layer('b')]);
    world.missing.add(world.descriptors[1]!.digest);
    await world.apply(0);
    expect(await world.images()).toEqual([]);
    world.missing.clear();
    world.arrivals.write('a blob');
    await vi.waitFor(async () => expect(await world.images()).toHaveLength(1), 20_000);
  });

  it('that are broken are tried once, and reported to who asks', async () => {
    const world = await imageWorld([layer('a'), layer('b').subarray(0, -9)]);
    await world.apply(0);
    const broken = world.descriptors[1]!.digest;
    await vi.waitFor(() => expect(world.opened.get(broken)).toBe(1), 20_000);
    await expect(world.apply(1)).rejects.toSatisfy((error) => isCode(error, 'invalid-argument'));
    expect(world.opened.get(broken)).toBe(2);
    expect(await readdir(world.ahead)).toEqual([]);
  });

  it('are proven by the diff ID of their image, or else by the digest of their blob', async () => {
    const contents = tar({ name: './', type: '5', mode: 0o755 }, { name: 'b', data: 'b'.repeat(5000) });
    const blobs = [layer('a'), layer('b')];
    for (const [said, outcome] of [
      [digestOf(contents), 'taken'],
      [digestOf(Buffer.from('another tar')), 'data-loss'],
      [undefined, 'data-loss'],
    ] as const) {
      const world = await imageWorld(blobs, 1, said === undefined ? [] : [digestOf(Buffer.of()), said]);
      // The same tar in other bytes than the blob that the image names.
      await writeFile(join(world.base, world.descriptors[1]!.digest), gzipSync(contents, { level: 1 }));
      await world.apply(0);
      const ended = await world.apply(1).then(
        () => 'taken',
        (error: unknown) => (error as SnapshotterError).code,
      );
      expect(ended, String(said)).toBe(outcome);
    }
  });

  it('give way to a layer that was asked for, on a full disk too', async () => {
    const world = await imageWorld([layer('a'), layer('b'), layer('c')], 2);
    await world.apply(0);
    await vi.waitFor(async () => expect(await world.images()).toHaveLength(2), 20_000);
    // Asked for out of order, and as if its blob came from elsewhere: what is ahead is not what is wanted.
    world.failOnce('resource-exhausted');
    await world.apply(0);
    expect(await world.images()).toEqual([]);
  });

  it('that nobody asks for are erased at the latest when the daemon stops', async () => {
    const world = await imageWorld([layer('a'), layer('b'), layer('c')]);
    await world.apply(0);
    await vi.waitFor(async () => expect((await world.images()).length).toBeGreaterThan(0), 20_000);
    await world.differ.close();
    expect(await readdir(world.ahead)).toEqual([]);
  });
});
