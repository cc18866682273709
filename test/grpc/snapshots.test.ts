import { Metadata, status } from '@grpc/grpc-js';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CodedError } from '../../src/errors.js';
import type { CompareSides } from '../../src/layers/index.js';
import type { ResponseOf, SnapshotsMethods } from '../../src/protocol/index.js';
import type { SnapshotInfo } from '../../src/snapshots/index.js';
import { comparedSides, info, startWorld, target, toAsync, within, type World, type WorldOptions } from './world.js';

type SnapshotsPage = ResponseOf<SnapshotsMethods['List']>;

let world: World;
const start = async (options: WorldOptions) => (world = await startWorld(options));
afterEach(() => world.close());

const create = { snapshotter: 'whatever', key: 'default/1/a', parent: 'p', labels: { 'a.b/c': 'd' } };
const mount = { type: 'erofs', source: '/x/layer.erofs', target: '', options: ['ro', 'loop'] };
const any = expect.any(Object) as object;

describe('the Snapshots service', () => {
  it('hands key, parent and labels of Prepare and View on, and the mounts back', async () => {
    const prepare = vi.fn(() => Promise.resolve([mount]));
    const view = vi.fn(() => Promise.resolve([mount, mount]));
    await start({ snapshotter: { prepare, view } });
    expect(await world.snapshots.unary('Prepare', create, within)).toEqual({ mounts: [mount] });
    expect(await world.snapshots.unary('View', create, within)).toEqual({ mounts: [mount, mount] });
    const { key, parent, labels } = create;
    const namespace = 'fallback';
    expect(prepare).toHaveBeenCalledWith({ key, parent, labels, namespace, signal: any });
    expect(view).toHaveBeenCalledWith({ key, parent, labels, namespace, signal: any });
  });

  it('hands the parent that Commit names on, and none when it names none', async () => {
    const commit = vi.fn(() => Promise.resolve());
    await start({ snapshotter: { commit } });
    const request = { snapshotter: '', name: 'n', key: 'k', labels: {}, parent: 'p' };
    await world.snapshots.unary('Commit', request, within);
    await world.snapshots.unary('Commit', { ...request, parent: '' }, within);
    expect(commit.mock.calls).toEqual([
      [{ name: 'n', key: 'k', labels: {}, parent: 'p', signal: any }],
      [{ name: 'n', key: 'k', labels: {}, signal: any }],
    ]);
  });

  it('answers Stat with kind, labels and times to the nanosecond, also before 1970', async () => {
    const stat = () =>
      Promise.resolve(
        info('n', { kind: 'committed', labels: { l: '1' }, createdAt: -1_500_000_001n, updatedAt: 1_007_000_002n }),
      );
    await start({ snapshotter: { stat } });
    expect(await world.snapshots.unary('Stat', { snapshotter: '', key: 'n' }, within)).toEqual({
      info: {
        name: 'n',
        parent: '',
        kind: 'COMMITTED',
        labels: { l: '1' },
        createdAt: { seconds: '-2', nanos: 499_999_999 },
        updatedAt: { seconds: '1', nanos: 7_000_002 },
      },
    });
  });

  it('hands the paths of an Update on as they are, dots and slashes included, and none without a mask', async () => {
    const update = vi.fn(() => Promise.resolve(info('n', { kind: 'view' })));
    await start({ snapshotter: { update } });
    const named = {
      name: 'n',
      parent: '',
      kind: 'UNKNOWN',
      createdAt: null,
      updatedAt: null,
      labels: { a: 'b' },
    } as const;
    const paths = ['labels.containerd.io/gc.root', 'labels'];
    const answer = await world.snapshots.unary(
      'Update',
      { snapshotter: '', info: named, updateMask: { paths } },
      within,
    );
    expect(answer.info?.kind).toBe('VIEW');
    await world.snapshots.unary('Update', { snapshotter: '', info: named, updateMask: null }, within);
    expect(update.mock.calls).toEqual([
      [{ name: 'n', labels: { a: 'b' } }, paths],
      [{ name: 'n', labels: { a: 'b' } }, []],
    ]);
  });

  it('refuses an Update that names no snapshot', async () => {
    await start({});
    const call = world.snapshots.unary('Update', { snapshotter: '', info: null, updateMask: null }, within);
    await expect(call).rejects.toMatchObject({ code: status.INVALID_ARGUMENT });
  });

  it('answers Usage beyond 2^32 exactly', async () => {
    await start({ snapshotter: { usage: () => Promise.resolve({ bytes: 2 ** 53 - 1, inodes: 5_000_000_000 }) } });
    const usage = await world.snapshots.unary('Usage', { snapshotter: '', key: 'k' }, within);
    expect(usage).toEqual({ size: '9007199254740991', inodes: '5000000000' });
  });

  it('streams 1,000 snapshots in order, at most 100 in a message', async () => {
    const names = Array.from({ length: 1000 }, (_, index) => `n${index}`);
    const list = vi.fn(() => toAsync(names.map((name) => info(name))));
    await start({ snapshotter: { list } });
    const request = { snapshotter: '', filters: ['name==a', 'kind==view'] };
    const pages: string[][] = [];
    for await (const page of world.snapshots.stream('List', request, { stallMs: 5000 })) {
      pages.push(page.info.map((each) => each.name));
    }
    expect(pages.map((page) => page.length)).toEqual(Array<number>(10).fill(100));
    expect(pages.flat()).toEqual(names);
    expect(list).toHaveBeenCalledWith(request.filters, 'fallback');
  });

  it('streams snapshots with many labels in messages that every client takes, and loses none to a giant', async () => {
    const labelsOf = (bytes: number) =>
      Object.fromEntries(Array.from({ length: bytes / 4000 }, (_, at) => [`l${at}`, 'x'.repeat(4000)]));
    // 25 MB in 100 infos; one that fills a message by itself; one that no message could hold, as earlier releases took it.
    const large = Array.from({ length: 100 }, (_, at) => info(`large-${at}`, { labels: labelsOf(250_000) }));
    const giant = info('giant', { labels: labelsOf(15_000_000) });
    const excessive = info('excessive', { parent: 'p', labels: labelsOf(16_700_000) });
    const infos = [...large, giant, excessive, info('last')];
    const sixteen = { 'grpc.max_receive_message_length': 16 * 1024 * 1024 };
    await start({
      snapshotter: { list: () => toAsync(infos), stat: () => Promise.resolve(excessive) },
      client: sixteen,
    });
    const pages: SnapshotsPage[] = [];
    for await (const page of world.snapshots.stream('List', { snapshotter: '', filters: [] }, { stallMs: 20_000 })) {
      pages.push(page);
    }
    const seen = pages.flatMap((page) => page.info);
    expect(seen.map(({ name }) => name)).toEqual(infos.map(({ name }) => name));
    expect(Object.keys(seen[100]!.labels)).toHaveLength(3750);
    expect(seen[101]).toMatchObject({ name: 'excessive', parent: 'p', labels: {} });
    const sizes = pages.map((page) => JSON.stringify(page).length);
    expect(sizes.filter((size) => size > 1_200_000)).toHaveLength(1);
    const { info: stated } = await world.snapshots.unary('Stat', { snapshotter: '', key: 'excessive' }, within);
    expect(stated).toMatchObject({ name: 'excessive', labels: {} });
  });

  it('answers an empty List with an empty stream', async () => {
    await start({});
    const pages = [];
    for await (const page of world.snapshots.stream('List', { snapshotter: '', filters: [] }, { stallMs: 5000 }))
      pages.push(page);
    expect(pages).toEqual([]);
  });

  it('stops reading snapshots when the caller of List leaves', async () => {
    let read = 0;
    let closed: () => void;
    const ended = new Promise<void>((resolve) => (closed = resolve));
    const list = function* (): Generator<SnapshotInfo> {
      try {
        for (; ; read += 1) yield info(`n${read}`, { labels: { padding: 'x'.repeat(4000) } });
      } finally {
        closed();
      }
    };
    await start({ snapshotter: { list: () => toAsync(list()) } });
    for await (const page of world.snapshots.stream('List', { snapshotter: '', filters: [] }, { stallMs: 5000 })) {
      expect(page.info).toHaveLength(100);
      break;
    }
    await ended;
    const stopped = read;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(read).toBe(stopped);
  });

  it('reads no further ahead of a List whose caller is slow than a few messages', async () => {
    let read = 0;
    const list = function* () {
      for (; ; read += 1) yield info(`n${read}`, { labels: { padding: 'x'.repeat(4000) } });
    };
    await start({ snapshotter: { list: () => toAsync(list()) } });
    for await (const page of world.snapshots.stream('List', { snapshotter: '', filters: [] }, { stallMs: 5000 })) {
      expect(page.info).toHaveLength(100);
      await new Promise((resolve) => setTimeout(resolve, 200));
      break;
    }
    // 16 messages in each of two queues, and what the sockets hold.
    expect(read).toBeLessThan(6000);
  });

  it('ends a List with the error that reading met, after the pages before it', async () => {
    const list = function* () {
      for (let index = 0; index < 150; index += 1) yield info(`n${index}`);
      throw new CodedError('data-loss', 'record 151 is damaged');
    };
    await start({ snapshotter: { list: () => toAsync(list()) } });
    let seen = 0;
    const reading = async () => {
      for await (const page of world.snapshots.stream('List', { snapshotter: '', filters: [] }, { stallMs: 5000 })) {
        seen += page.info.length;
      }
    };
    await expect(reading()).rejects.toMatchObject({ code: status.DATA_LOSS, details: 'record 151 is damaged' });
    expect(seen).toBe(100);
  });

  it('carries an error text of any script', async () => {
    const text = 'kein Schlüssel „日本/ключ 😀“: 100%\nzweite Zeile';
    await start({ snapshotter: { remove: () => Promise.reject(new CodedError('failed-precondition', text)) } });
    const call = world.snapshots.unary('Remove', { snapshotter: '', key: 'k' }, within);
    await expect(call).rejects.toMatchObject({ code: status.FAILED_PRECONDITION, details: text });
  });

  it.each([
    ['an unpaired surrogate', 'eda080', 'key'],
    ['a byte that begins nothing', '61ff62', 'key'],
    ['a character that is cut', '61e282', 'key'],
    ['an overlong character', 'c0af', 'parent'],
    ['an unpaired surrogate', 'edb080', 'label'],
  ])('refuses %s (%s) in a %s, which would be U+FFFD and another one', async (_what, hex, place) => {
    const prepare = vi.fn(() => Promise.resolve([]));
    await start({ snapshotter: { prepare } });
    const text = Buffer.from(hex, 'hex');
    const field = (number: number, bytes: Buffer) => Buffer.concat([Buffer.of((number << 3) | 2, bytes.length), bytes]);
    // Fields of PrepareSnapshotRequest: 2 the key, 3 the parent, 4 a label, itself a message of key and value.
    const label = Buffer.concat([field(1, text), field(2, Buffer.from('v'))]);
    const request = {
      key: field(2, text),
      parent: Buffer.concat([field(2, Buffer.from('k')), field(3, text)]),
      label: Buffer.concat([field(2, Buffer.from('k')), field(4, label)]),
    }[place]!;
    const call = new Promise((resolve, reject) => {
      world.channel.makeUnaryRequest(
        '/containerd.services.snapshots.v1.Snapshots/Prepare',
        (bytes: Buffer) => bytes,
        (bytes: Buffer) => bytes,
        request,
        (error, answer) => (error ? reject(error) : resolve(answer)),
      );
    });
    await expect(call).rejects.toMatchObject({
      code: status.INVALID_ARGUMENT,
      details: expect.stringContaining('is not UTF-8') as string,
    });
    expect(prepare).not.toHaveBeenCalled();
  });

  it('takes U+FFFD, a byte order mark and characters of four bytes as they are', async () => {
    const prepare = vi.fn(() => Promise.resolve([]));
    await start({ snapshotter: { prepare } });
    const key = '\ufeffa\ufffd😀';
    await world.snapshots.unary('Prepare', { ...create, key, labels: { [key]: key } }, within);
    expect(prepare).toHaveBeenCalledWith(expect.objectContaining({ key, labels: { [key]: key } }));
  });

  it('refuses a request above 16 MiB and goes on', async () => {
    await start({ snapshotter: { cleanup: () => Promise.resolve() } });
    const labels = { big: 'x'.repeat(17 * 1024 * 1024) };
    const call = world.snapshots.unary('Prepare', { ...create, labels }, within);
    await expect(call).rejects.toMatchObject({ code: status.RESOURCE_EXHAUSTED });
    expect(await world.snapshots.unary('Cleanup', { snapshotter: '' }, within)).toEqual({});
  });

  it('accepts a request of 10 MiB', async () => {
    await start({
      snapshotter: { prepare: ({ labels }) => Promise.resolve([{ ...mount, source: `${labels['big']?.length}` }]) },
    });
    const labels = { big: 'x'.repeat(10 * 1024 * 1024) };
    const answer = await world.snapshots.unary('Prepare', { ...create, labels }, within);
    expect(answer.mounts[0]?.source).toBe('10485760');
  });
});

describe('the Diff service', () => {
  const descriptor = { mediaType: 'm', digest: 'sha256:d', size: '5000000000', annotations: { a: 'b' } };
  const request = {
    diff: descriptor,
    mounts: [mount],
    payloads: { p: { type_url: 't', value: Buffer.from('v') } },
    syncFs: true,
  };

  it('applies the layer to the target of the mounts, in the namespace of the call', async () => {
    const apply = vi.fn(() => Promise.resolve({ mediaType: 'tar', digest: 'sha256:e', size: 2 ** 40 }));
    const extractTarget = vi.fn(() => Promise.resolve(target));
    await start({ snapshotter: { extractTarget }, apply });
    const metadata = new Metadata();
    metadata.set('containerd-namespace', 'k8s.io');
    const answer = await world.diff.unary('Apply', request, { ...within, metadata });
    expect(answer).toEqual({
      applied: { mediaType: 'tar', digest: 'sha256:e', size: '1099511627776', annotations: {} },
    });
    expect(extractTarget).toHaveBeenCalledWith([mount]);
    expect(apply).toHaveBeenCalledWith({
      descriptor: { ...descriptor, size: 5_000_000_000 },
      target,
      namespace: 'k8s.io',
      signal: any,
    });
  });

  it('uses the configured namespace for a call that brings none', async () => {
    const apply = vi.fn(({ namespace }: { namespace?: string | undefined }) =>
      Promise.resolve({ mediaType: namespace ?? '', digest: '', size: 0 }),
    );
    await start({ snapshotter: { extractTarget: () => Promise.resolve(target) }, apply });
    expect((await world.diff.unary('Apply', request, within)).applied?.mediaType).toBe('fallback');
  });

  it('answers foreign mounts UNIMPLEMENTED, so that containerd asks the next differ', async () => {
    const extractTarget = () => Promise.reject(new CodedError('not-mine', 'not a mount of this snapshotter'));
    await start({ snapshotter: { extractTarget } });
    await expect(world.diff.unary('Apply', request, within)).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
  });

  it('refuses an Apply that names no layer, and a size that is not exact', async () => {
    await start({});
    const refused = { code: status.INVALID_ARGUMENT };
    await expect(world.diff.unary('Apply', { ...request, diff: null }, within)).rejects.toMatchObject(refused);
    const diff = { ...descriptor, size: '9007199254740993' };
    await expect(world.diff.unary('Apply', { ...request, diff }, within)).rejects.toMatchObject(refused);
  });

  const comparison = { left: [mount], right: [mount, mount], mediaType: 'm', ref: 'r', labels: { l: 'v' } };

  it('compares the sides of the mounts, under the lease of the call, not later than the source date epoch', async () => {
    const compare = vi.fn(async ({ sides }: { sides: () => Promise<CompareSides> }) => ({
      mediaType: (await sides()).temporary('left and right'),
      digest: 'sha256:d',
      size: 7,
    }));
    const compareSides = vi.fn(() => Promise.resolve(comparedSides));
    await start({ snapshotter: { compareSides }, compare });
    const metadata = new Metadata();
    metadata.set('containerd-namespace', 'k8s.io');
    metadata.set('containerd-lease', 'mine');
    const request = { ...comparison, sourceDateEpoch: { seconds: '-1', nanos: 500_000_000 } };
    const answer = await world.diff.unary('Diff', request, { ...within, metadata });
    expect(answer.diff).toEqual({ mediaType: 'left and right', digest: 'sha256:d', size: '7', annotations: {} });
    const { left, right, mediaType, ref, labels } = comparison;
    expect(compareSides).toHaveBeenCalledWith({ left, right, labels, signal: any });
    const asked = { mediaType, ref, labels, sourceDateEpoch: -500_000_000n, namespace: 'k8s.io', lease: 'mine' };
    expect(compare).toHaveBeenCalledWith(expect.objectContaining({ ...asked, signal: any }));
  });

  it('answers a Diff of a foreign media type UNIMPLEMENTED before it looks at the mounts', async () => {
    const compareSides = vi.fn(() => Promise.reject(new Error('looked')));
    const compare = () => Promise.reject(new CodedError('not-mine', 'not a media type of this differ'));
    await start({ snapshotter: { compareSides }, compare });
    const call = world.diff.unary('Diff', { ...comparison, sourceDateEpoch: null }, within);
    await expect(call).rejects.toMatchObject({ code: status.UNIMPLEMENTED });
    expect(compareSides).not.toHaveBeenCalled();
  });
});
