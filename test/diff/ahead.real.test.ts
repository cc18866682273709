import { appendFile, mkdir, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { gzipSync } from 'node:zlib';
import { expect, it, onTestFinished, vi } from 'vitest';
import { LayerDiffer } from '../../src/diff/index.js';
import { isCode, CodedError, type ErrorCode } from '../../src/errors.js';
import { run } from '../../src/host/index.js';
import { Slots } from '../../src/jobs.js';
import type { ExtractTarget } from '../../src/layers/index.js';
import type { Digest } from '../../src/vocabulary.js';
import { silentLogger } from '../../src/log.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { digestOf, gzip } from './apply-world.js';
import { loneLayers } from './lone-layers.js';
import { tar } from './tar-builder.js';

const tarOf = (name: string) => tar({ name: './', type: '5', mode: 0o755 }, { name, data: name.repeat(5000) });
const layer = (name: string) => gzipSync(tarOf(name));

/** An image of these blobs in a content store that counts how often each is opened; a blob can be missing at first. */
async function imageWorld(blobs: readonly Buffer[], atOnce = 1, diffIds: readonly Digest[] = []) {
  const base = await temporaryFolder();
  const ahead = join(base, 'ahead');
  await mkdir(ahead);
  const missing = new Set<string>();
  const failing: ErrorCode[] = [];
  const opened = new Map<string, number>();
  const arrivals = new PassThrough({ objectMode: true });
  const beginnings = new PassThrough({ objectMode: true });
  onTestFinished(() => void arrivals.end());
  onTestFinished(() => void beginnings.end());
  const fetching = new Set<Digest>();
  const incoming = (digest: string) => join(base, `incoming-${digest}`);
  const descriptors = blobs.map((blob) => ({ mediaType: gzip, digest: digestOf(blob), size: blob.length }));
  for (const [index, blob] of blobs.entries()) await writeFile(join(base, descriptors[index]!.digest), blob);
  const content = {
    ...loneLayers,
    info: async (digest: string) => {
      if (missing.has(digest)) throw new CodedError('not-found', 'not complete yet');
      return Promise.resolve({ labels: {} });
    },
    open: async ({ digest }: { digest: string }) => {
      const code = failing.pop();
      if (code) throw new CodedError(code, 'as the test wants it');
      opened.set(digest, (opened.get(digest) ?? 0) + 1);
      const path = join(base, digest);
      return { kind: 'file' as const, path, size: (await stat(path)).size };
    },
    completed: async function* () {
      for await (const _ of arrivals) yield;
    },
    layersAfter: (_digest: string, position: number) => Promise.resolve(layers.slice(position + 1)),
    layersWith: () => Promise.resolve(layers),
    downloads: () => Promise.resolve([...fetching]),
    openDownload: (digest: Digest) => (fetching.has(digest) ? open(incoming(digest), 'r') : Promise.resolve(undefined)),
    begun: async function* () {
      for await (const _ of beginnings) yield;
    },
  };
  /** Begins the fetch of a layer with what its first bytes are said to be; what is appended to the file arrives. */
  const beginFetch = async (position: number, first: Uint8Array) => {
    const { digest } = descriptors[position]!;
    missing.add(digest);
    await writeFile(incoming(digest), first);
    fetching.add(digest);
    beginnings.write('a fetch');
    return incoming(digest);
  };
  /** The fetch ends, and what it fetched is the blob. */
  const endFetch = async (position: number) => {
    const { digest } = descriptors[position]!;
    fetching.delete(digest);
    await rename(incoming(digest), join(base, digest));
    missing.delete(digest);
    arrivals.write('a blob');
  };
  const layers = descriptors.map((descriptor, index) => ({ descriptor, diffId: diffIds[index] }));
  const bounds = {
    slots: new Slots(atOnce + 1),
    conversionTimeoutMs: 60_000,
    maxLayerBytes: 2 ** 40,
    aheadAtOnce: atOnce,
  };
  const differ = new LayerDiffer({ content, ...bounds, log: silentLogger() });
  onTestFinished(() => differ.close());
  let made = 0;
  const held = new Set<string>();
  const targetAt = (position: number): ExtractTarget => ({
    id: position + 1,
    diffId: undefined,
    temporary: (purpose) => join(base, `.tmp-${++made}-${purpose}`),
    adoptLayer: () => Promise.resolve(undefined),
    publishLayer: async (path, { digest }) => {
      await rename(path, join(base, `layer-${position}.erofs`));
      held.add(digest);
    },
  });
  const expectLayer = (position: number) =>
    differ.expect({
      snapshot: position + 1,
      namespace: 'default',
      position: () => Promise.resolve(position),
      temporary: (purpose) => join(ahead, `.tmp-${++made}-${purpose}`),
      holds: (digest) => held.has(digest),
    });
  /** As containerd does: a snapshot is prepared, then the layer is applied to it. */
  const apply = (position: number) => {
    expectLayer(position);
    return differ.apply({
      descriptor: descriptors[position]!,
      target: targetAt(position),
      namespace: 'default',
      signal: new AbortController().signal,
    });
  };
  const images = async () => (await readdir(ahead)).filter((name) => name.endsWith('.erofs'));
  const failOnce = (code: ErrorCode) => failing.push(code);
  return {
    apply,
    expectLayer,
    beginFetch,
    endFetch,
    arrivals,
    failOnce,
    differ,
    missing,
    opened,
    descriptors,
    ahead,
    base,
    images,
  };
}

requires('mkfs.erofs')('layers ahead', () => {
  it('are converted once, by their bytes, while containerd is busy with those before, and used when it asks', async () => {
    // The second is no gzip, whatever the image says.
    const world = await imageWorld([layer('a'), tarOf('b'), layer('c')]);
    await world.apply(0);
    await vi.waitFor(async () => expect(await world.images()).toHaveLength(2), 20_000);
    const diffs = [await world.apply(1), await world.apply(2)];
    expect(diffs.map(({ digest }) => digest)).toEqual(['b', 'c'].map((name) => digestOf(tarOf(name))));
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

  it('that are broken are tried once, and reported to the caller', async () => {
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
        (error: unknown) => (error as CodedError).code,
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

  it('that are never asked for are erased at the latest when the daemon stops', async () => {
    const world = await imageWorld([layer('a'), layer('b'), layer('c')]);
    await world.apply(0);
    await vi.waitFor(async () => expect((await world.images()).length).toBeGreaterThan(0), 20_000);
    await world.differ.close();
    expect(await readdir(world.ahead)).toEqual([]);
  });
});

/** Large enough to be followed: random bytes, so that compressing does not change that. */
const largeTar = (name: string) =>
  tar({ name: './', type: '5', mode: 0o755 }, { name, data: randomBytes(3 * 1024 * 1024) });

requires('mkfs.erofs', 'zstd')('layers that are being fetched', () => {
  const oneLayer = () => {
    const contents = largeTar('a');
    return { contents, blobs: [gzipSync(contents, { level: 1 })], diffIds: [digestOf(contents)] };
  };
  const zstdOf = async (bytes: Buffer) => {
    const path = join(await temporaryFolder(), 'layer');
    await writeFile(path, bytes);
    await run('zstd', ['-q', path], { deadlineMs: 60_000 });
    return readFile(`${path}.zst`);
  };
  const temporaries = async ({ base, ahead }: { base: string; ahead: string }) => [
    ...(await readdir(ahead)),
    ...(await readdir(base)).filter((name) => name.startsWith('.tmp')),
  ];

  it.each(['gzip', 'zstd that is said to be gzip'])(
    'are converted as they arrive, and used as they are: %s',
    async (is) => {
      const { contents, blobs: packed, diffIds } = oneLayer();
      const blobs = is === 'gzip' ? packed : [await zstdOf(contents)];
      const [world, other] = [await imageWorld(blobs, 1, diffIds), await imageWorld(blobs, 0)];
      world.expectLayer(0);
      const half = blobs[0]!.length / 2;
      const path = await world.beginFetch(0, blobs[0]!.subarray(0, half));
      // The image grows although the blob is not complete.
      await vi.waitFor(async () => {
        const name = (await readdir(world.ahead)).find((each) => each.endsWith('layer.erofs'));
        // Its blocks: mkfs.erofs gives the file a size of terabytes before it writes anything.
        expect((await stat(join(world.ahead, name ?? 'none'))).blocks * 512).toBeGreaterThan(half / 4);
      }, 20_000);
      await appendFile(path, blobs[0]!.subarray(half));
      await world.endFetch(0);
      expect(await world.apply(0)).toMatchObject({ digest: diffIds[0] });
      expect(world.opened.has(world.descriptors[0]!.digest)).toBe(false);
      await other.apply(0);
      const [followed, taken] = await Promise.all(
        [world, other].map(({ base }) => readFile(join(base, 'layer-0.erofs'))),
      );
      expect(followed!.equals(taken!)).toBe(true);
      await world.differ.close();
      expect(await temporaries(world)).toEqual([]);
    },
  );

  it('that are not what their image says are converted from the blob, as if nothing had been converted ahead', async () => {
    const { blobs, diffIds } = oneLayer();
    const world = await imageWorld(blobs, 1, diffIds);
    world.expectLayer(0);
    const another = gzipSync(largeTar('c'), { level: 1 });
    const wrong = Buffer.concat([another, Buffer.alloc(Math.max(0, blobs[0]!.length - another.length))]);
    const path = await world.beginFetch(0, wrong.subarray(0, 2_000_000));
    await vi.waitFor(async () => expect(await readdir(world.ahead)).not.toEqual([]), 20_000);
    await appendFile(path, wrong.subarray(2_000_000, blobs[0]!.length));
    await vi.waitFor(async () => expect(await readdir(world.ahead)).toEqual([]), 20_000);
    await writeFile(path, blobs[0]!);
    await world.endFetch(0);
    expect(await world.apply(0)).toMatchObject({ digest: diffIds[0] });
    expect(world.opened.get(world.descriptors[0]!.digest)).toBe(1);
  });

  it('whose fetch is given up leave nothing', async () => {
    const { blobs, diffIds } = oneLayer();
    const world = await imageWorld(blobs, 1, diffIds);
    world.expectLayer(0);
    const path = await world.beginFetch(0, blobs[0]!.subarray(0, 2_000_000));
    await vi.waitFor(async () => expect(await readdir(world.ahead)).not.toEqual([]), 20_000);
    await rm(path);
    await vi.waitFor(async () => expect(await temporaries(world)).toEqual([]), 20_000);
  });

  it('leave nothing when the daemon stops', async () => {
    const { blobs, diffIds } = oneLayer();
    const world = await imageWorld(blobs, 1, diffIds);
    world.expectLayer(0);
    await world.beginFetch(0, blobs[0]!.subarray(0, 2_000_000));
    await vi.waitFor(async () => expect(await readdir(world.ahead)).not.toEqual([]), 20_000);
    await world.differ.close();
    expect(await temporaries(world)).toEqual([]);
  });

  it('are left alone without a diff ID to prove them by', async () => {
    const { blobs } = oneLayer();
    const world = await imageWorld(blobs, 1);
    world.expectLayer(0);
    await world.beginFetch(0, blobs[0]!);
    await world.endFetch(0);
    await world.apply(0);
    expect(world.opened.get(world.descriptors[0]!.digest)).toBe(1);
  });

  it('are not followed once the layer that was expected has come', async () => {
    const { blobs, diffIds } = oneLayer();
    const world = await imageWorld(blobs, 1, diffIds);
    world.expectLayer(0);
    await world.apply(0);
    await world.beginFetch(0, blobs[0]!);
    // A fetch from now on is for another client; looking would have begun with the first event.
    await world.endFetch(0);
    await world.apply(0);
    expect(world.opened.get(world.descriptors[0]!.digest)).toBe(2);
  });
});
