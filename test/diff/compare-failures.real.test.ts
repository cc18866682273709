import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, open, readFile, rename, symlink, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { isCode, CodedError, type ErrorCode } from '../../src/errors.js';
import { run } from '../../src/host/index.js';
import { packageRoot } from '../../src/package.js';
import type { Mount } from '../../src/vocabulary.js';
import * as change from '../conformance/changes.js';
import { inOrder } from '../conformance/chains.js';
import { requires } from '../harness/requires.js';
import { makeCompareWorld, type CompareWorld } from './compare-world.js';

const quiesced = { 'containerd.io/snapshot/erofs.quiesced': 'true' };

requires(
  'root',
  'loop',
  'erofs',
  'ext4',
  'overlay',
  'mkfs.erofs',
  'mkfs.ext4',
)('a Diff that cannot be', () => {
  let world: CompareWorld;
  let keys = 0;
  beforeAll(async () => {
    world = await makeCompareWorld();
    await world.layer('first', '', change.file('first'));
    await world.layer('base', 'first', inOrder(change.folder('etc'), change.file('etc/file')));
  });
  afterAll(() => world.close());
  afterEach(async () => expect(await world.leftovers()).toEqual([]));

  const failure = async (work: Promise<unknown>, code: ErrorCode) => {
    const error: unknown = await work.catch((caught: unknown) => caught);
    if (isCode(error, code)) return `${error.message}; ${error.next ?? ''}`;
    throw new Error(`expected ${code}`, { cause: error });
  };
  const container = (work: (root: string) => Promise<void> = change.file('new')) =>
    world.active(`container-${++keys}`, 'base', work);
  const imageOf = (mounts: readonly Mount[]) => mounts.at(-1)!.source;

  it('since the container runs, says so; one whose guest is frozen is read all the same', async () => {
    const { mounts, tree } = await container();
    const script = join(packageRoot(), 'test', 'diff', 'fixtures', 'hold-image.ts');
    const holder = spawn(process.execPath, ['--import', 'tsx', script, imageOf(mounts)], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    await once(holder.stdout, 'data');
    try {
      const left = await world.view('base');
      expect(await failure(world.compare(left, mounts), 'failed-precondition')).toMatch(
        /in use: a virtual machine.*stop the container/,
      );
      expect(await failure(world.compare(mounts, left), 'failed-precondition')).toMatch(/in use/);
      const descriptor = await world.compare(left, mounts, { labels: { ...quiesced, mine: 'kept' } });
      expect(world.blobs.get(descriptor.digest)!.labels).toEqual({
        mine: 'kept',
        'containerd.io/uncompressed': descriptor.digest,
      });
      expect((await world.applied(descriptor, 'base')).tree).toEqual(tree);
    } finally {
      holder.kill();
      await once(holder, 'exit');
    }
  });

  it('with mounts of another snapshotter is left to the next differ; with only one of ours it is refused', async () => {
    const foreign = [{ type: 'overlay', source: 'overlay', target: '', options: ['lowerdir=/var/lib/other/1'] }];
    const ours = await world.view('base');
    await failure(world.compare(foreign, foreign), 'not-mine');
    await failure(world.compare([], []), 'not-mine');
    expect(await failure(world.compare(foreign, ours), 'invalid-argument')).toMatch(/left mounts are not below/);
    expect(await failure(world.compare(ours, foreign), 'invalid-argument')).toMatch(/right mounts are not below/);
    await failure(world.compare(ours, ours, { mediaType: 'text/plain' }), 'not-mine');
  });

  it('with mounts that no snapshot has is refused before anything is mounted', async () => {
    const { mounts } = await container();
    const left = await world.view('base');
    const [image, writable] = mounts as [Mount, Mount];
    const { root } = world.world;
    await symlink('/etc', join(root, 'snapshots', '1', 'link'));
    const lists: Record<string, readonly Mount[]> = {
      'a part of the answer': [writable],
      'another order': [writable, image],
      'another type': [image, { ...writable, type: 'xfs' }],
      'another option': [image, { ...writable, options: ['rw', 'loop', 'data=journal'] }],
      'one layer too few': [{ ...image, options: image.options.slice(0, -1) }, writable],
      'a path spelled otherwise': [image, { ...writable, source: writable.source.replace('/rwlayer', '/./rwlayer') }],
      'a way out of the root': [image, { ...writable, source: join(root, 'snapshots/1') + '/../../../../etc/passwd' }],
      'a link in a folder of ours': [{ ...writable, source: join(root, 'snapshots/1/link') }],
      'the database': [{ ...writable, source: join(root, 'metadata.db') }],
      'a snapshot that does not exist': [image, { ...writable, source: writable.source.replace(/\d+(?=\/rw)/, '999') }],
      'an overlay made of them': [{ type: 'overlay', source: 'overlay', target: '', options: [`upperdir=${root}/fs`] }],
    };
    for (const [what, right] of Object.entries(lists)) {
      const message = await failure(world.compare(left, right), 'invalid-argument').catch((error: unknown) => {
        throw new Error(what, { cause: error });
      });
      expect(message).toMatch(/no snapshot has the right mounts/);
    }
  });

  it('of a snapshot that layers are extracted into says what to compare instead', async () => {
    const extract = await world.world.port.prepare('extract-1', 'base');
    expect(await failure(world.compare(await world.view('base'), extract), 'failed-precondition')).toMatch(
      /a layer is extracted; commit it/,
    );
  });

  it('of a damaged ext4 says so, whether its superblock or a folder of it is', async () => {
    const superblock = (await container()).mounts;
    const file = await open(imageOf(superblock), 'r+');
    await file.write(Buffer.alloc(1024, 0x5a), 0, 1024, 1024);
    await file.close();
    const left = await world.view('base');
    expect(await failure(world.compare(left, superblock), 'data-loss')).toMatch(/the ext4 of .* is damaged: .*e2fsck/);

    const folder = (await container(inOrder(change.folder('etc/full'), change.file('etc/full/marked-name')))).mounts;
    const bytes = await readFile(imageOf(folder));
    // In the journal as well as in its place.
    for (let at = bytes.indexOf('marked-name'); at !== -1; at = bytes.indexOf('marked-name')) {
      bytes.fill(0xff, at - 8, at + 8);
    }
    await writeFile(imageOf(folder), bytes);
    expect(await failure(world.compare(left, folder), 'data-loss')).toMatch(/damaged/);
  });

  it('of a writable layer without upper, or with a link in its place, is refused', async () => {
    const { mounts } = await container();
    const left = await world.view('base');
    const target = await mkdtemp(join(dirname(world.world.root), 'rw-'));
    await run('mount', ['-o', 'loop', imageOf(mounts), target], { deadlineMs: 20_000 });
    await rename(join(target, 'upper'), join(target, 'hidden'));
    await symlink('/etc', join(target, 'upper'));
    await run('umount', [target], { deadlineMs: 20_000 });
    expect(await failure(world.compare(left, mounts), 'failed-precondition')).toMatch(/no folder "upper"/);
  });

  it('of a file whose name means its absence in a layer names that file', async () => {
    const { mounts } = await container(change.file('etc/.wh.file'));
    expect(await failure(world.compare(await world.view('base'), mounts), 'failed-precondition')).toMatch(
      /etc\/\.wh\.file.*means a deleted file.*rename/,
    );
  });

  it('that is cancelled, before it begins, while it reads or while it waits, leaves nothing', async () => {
    const { mounts } = await container(change.sparseFile('large', 40_000_000));
    const left = await world.view('base');
    const stop = () => new CodedError('cancelled', 'stopped by the test');
    await failure(world.compare(left, mounts, { signal: AbortSignal.abort(stop()) }), 'cancelled');
    let cancelled = 0;
    for (const afterMs of [5, 30, 60, 120]) {
      const controller = new AbortController();
      const gzip = 'application/vnd.oci.image.layer.v1.tar+gzip';
      const options = { signal: controller.signal, mediaType: gzip };
      const running = [world.compare(left, mounts, options), world.compare(mounts, left, options)];
      setTimeout(() => controller.abort(stop()), afterMs);
      // A quick machine is done before the later ones: that is no failure.
      for (const outcome of await Promise.allSettled(running)) {
        if (outcome.status === 'fulfilled') continue;
        expect(outcome.reason).toMatchObject({ code: 'cancelled' });
        cancelled += 1;
      }
      expect(await world.leftovers()).toEqual([]);
    }
    expect(cancelled).toBeGreaterThan(0);
  });

  it('that a crash cut short is cleaned up at the next start: mounts on mounts, folders, files', async () => {
    const { root } = world.world;
    const folder = join(root, 'snapshots', '.tmp-0123456789abcdef-compare');
    const [image, whole, empty] = [join(folder, 'image'), join(folder, 'whole'), join(folder, 'empty')];
    for (const path of [image, whole, empty]) await mkdir(path, { recursive: true });
    const [layer] = await world.view('first');
    // As releases left them whose mounts the whole host saw.
    await run('mount', ['-t', 'erofs', '-o', 'loop,ro', layer!.source, image], { deadlineMs: 10_000 });
    await run('mount', ['-t', 'overlay', '-o', `lowerdir=${image}:${empty}`, 'overlay', whole], { deadlineMs: 10_000 });
    await writeFile(join(root, 'snapshots', '.tmp-0123456789abcdef-layer.tar'), 'unfinished');
    expect(await world.leftovers()).not.toEqual([]);
    await world.world.reopen();
    expect(await world.leftovers()).toEqual([]);
  });
});
