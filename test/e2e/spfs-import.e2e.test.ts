import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { LayerTar } from '../../scripts/rig/layer-tar.js';
import { LayoutWriter, type Image } from '../../scripts/rig/oci-layout.js';
import { tool } from '../../scripts/rig/process.js';
import { pushImage } from '../../scripts/rig/push.js';
import { setXattr } from '../../src/host/index.js';
import { packageRoot } from '../../src/package.js';
import { chainNames } from '../../src/spfs/chains/index.js';
import { findImage, importFolder, importImage, importTar } from '../../src/spfs/import/index.js';
import { platformDigest } from '../../src/spfs/store/index.js';
import { parseDigest } from '../../src/vocabulary.js';
import { Guest } from '../conformance/guest-mounts.js';
import { snapshotOf } from '../conformance/tree.js';
import { requires } from '../harness/requires.js';
import { digestOf, never, stack, startChainsWorld, tarOf, type ChainsWorld } from './spfs-chains-world.js';
import { nothingLeft } from './world.js';

const failure = (error: unknown) => error;
const says = (pattern: RegExp) => expect.stringMatching(pattern) as unknown;

requires(
  'root',
  'loop',
  'erofs',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
)('spfs import', () => {
  let world: ChainsWorld;
  let image: Image;
  let name: string;
  beforeAll(async () => {
    world = await startChainsWorld();
    const layout = new LayoutWriter(world.path('layout'));
    await layout.open();
    const layers = [];
    for (const [index, compression] of (['gzip', 'plain', 'gzip'] as const).entries()) {
      const layer = new LayerTar(world.path(`layer-of-image-${index}`));
      await layer.file(`file-${index}`, `${index}`);
      await layer.file('all', `${index}`);
      layers.push(await layer.finish(layout, compression));
    }
    image = await layout.finish('small', layers);
    name = await pushImage(image, world.registry.host, 'studio/small', 'v1');
  });
  afterEach(async () => {
    await world.containerd.tryCtr(['images', 'rm', '--sync', name]);
    expect(await world.unfinished()).toEqual([]);
    expect(await world.emptied()).toEqual(nothingLeft);
  });
  afterAll(() => world.close());

  const diffIds = () => stack(...image.diffIds.map((diffId) => parseDigest(diffId)));
  const ofImage = () => ({ ...world.context, name, namespace: 'default' });
  const pull = () => world.containerd.ctr(['images', 'pull', '--plain-http', '--snapshotter', snapshotterName, name]);
  const fetch = () => world.containerd.ctr(['content', 'fetch', '--plain-http', name]);

  async function fileOf(files: Readonly<Record<string, string>>, change = (tar: Buffer) => tar, path = 'a.tar') {
    await writeFile(world.path(path), change(await tarOf(files)));
    return { ...world.context, path: world.path(path) };
  }

  it('takes an unpacked image as a platform, converts nothing, and keeps it when the image is removed', async () => {
    await pull();
    const converted = world.conversions();
    const { object, layers, release } = await importImage({ ...ofImage(), as: 'platform' });
    expect(object).toMatchObject({
      kind: 'platform',
      digest: platformDigest(diffIds()),
      layers: diffIds(),
      origin: name,
    });
    expect(layers.map((layer) => layer.digest)).toEqual(diffIds());
    expect([...(await world.snapshots()).keys()].sort()).toEqual([...chainNames(diffIds())].sort());
    await world.chains.keep(object, never);
    await release();
    await world.containerd.ctr(['images', 'rm', '--sync', name]);
    const open = await world.chains.open(diffIds(), { signal: never });
    expect(await world.contents(open.mounts)).toEqual({ 'file-0': '0', 'file-1': '1', 'file-2': '2', all: '2' });
    await open.close();
    expect(world.conversions()).toBe(converted);
  });

  it('unpacks an image that was only fetched, for an import and for a run', async () => {
    await fetch();
    const steps: number[] = [];
    const onProgress = ({ done }: { done: number }) => void steps.push(done);
    const { object, release } = await importImage({ ...ofImage(), as: 'platform', onProgress });
    expect([object.digest, steps]).toEqual([platformDigest(diffIds()), [0, 1, 2, 3]]);
    await release();
    await world.collect();
    expect(await world.snapshots()).toEqual(new Map());
    const { layers, blobs } = await findImage(ofImage());
    expect(layers).toEqual(diffIds());
    const open = await world.chains.open(layers, { blobs, signal: never });
    expect((await world.contents(open.mounts))['all']).toBe('2');
    await open.close();
    await world.collect();
  });

  it('says how to get an image that is not here as a whole, and how one is called', async () => {
    await fetch();
    await world.containerd.ctr(['content', 'rm', image.manifest.layers[1]!.digest]);
    expect(await importImage({ ...ofImage(), as: 'platform' }).catch(failure)).toMatchObject({
      code: 'not-found',
      message: says(/is neither unpacked nor complete in namespace "default": layer \w{8} \(2 of 3 from below\)/),
      next: `run \`ctr -n default images pull --snapshotter spin-erofs ${name}\``,
    });
    const called = async (given: string, namespace = 'default') =>
      await importImage({ ...ofImage(), name: given, namespace, as: 'platform' }).catch(failure);
    for (const near of ['small', 'small:v1', 'studio/small', `${name.slice(0, -1)}2`, 'elsewhere.example/small:v1']) {
      expect(await called(near)).toMatchObject({
        code: 'not-found',
        next: says(new RegExp(`one of these: .*${name}`)),
      });
    }
    expect(await called('other')).toMatchObject({ code: 'not-found', next: says(/images ls -q/) });
    expect(await called(name, 'empty')).toMatchObject({ message: says(/nor any other/) });
  });

  it('takes an image of one layer as a layer, and no other', async () => {
    await pull();
    expect(await importImage({ ...ofImage(), as: 'layer' }).catch(failure)).toMatchObject({
      code: 'invalid-argument',
      message: says(/has 3 layers, and was to be imported as one/),
    });
  });

  it('makes a tar a layer under its diff ID, however it is compressed, and copies nothing of it', async () => {
    const files = { 'a/file': 'text' };
    const digest = digestOf(await tarOf(files));
    for (const change of [(tar: Buffer) => tar, (tar: Buffer) => gzipSync(tar)]) {
      const { object, release } = await importTar(await fileOf(files, change));
      expect(object).toMatchObject({ kind: 'layer', digest, origin: world.path('a.tar') });
      await world.chains.keep(object, never);
      await release();
      await release();
      expect(await world.unfinished()).toEqual([]);
      expect([...(await world.snapshots()).keys()]).toEqual([digest]);
    }
    await fileOf(files);
    await tool('zstd', ['--quiet', world.path('a.tar'), '-o', world.path('a.tar.zst')]);
    const { object, release } = await importTar({ ...world.context, path: world.path('a.tar.zst') });
    expect(object.digest).toBe(digest);
    await release();
  });

  it.each<[string, (tar: Buffer) => Buffer, string, RegExp]>([
    ['is cut off', (tar) => gzipSync(tar).subarray(0, -10), 'invalid-argument', /unexpected end of file/],
    ['is no tar', () => Buffer.from('text '.repeat(1000)), 'invalid-argument', /tar is malformed/],
    ['is empty', () => Buffer.alloc(0), 'invalid-argument', /it is empty/],
    ['is of xz', () => Buffer.from('fd377a585a0000', 'hex'), 'invalid-argument', /it is compressed with xz/],
  ])('refuses a tar that %s, naming it, and leaves nothing', async (_, change, code, message) => {
    const error = await importTar(await fileOf({ a: 'x'.repeat(10_000) }, change)).catch(failure);
    expect(error).toMatchObject({ code, message: says(message) });
    expect(error).toMatchObject({ message: says(new RegExp(world.path('a.tar'))) });
    expect(await world.unfinished()).toEqual([]);
  });

  it('refuses what is no file, or changes meanwhile', async () => {
    const tar = (path: string) => importTar({ ...world.context, path }).catch(failure);
    expect(await tar(world.path('absent'))).toMatchObject({ code: 'not-found' });
    expect(await tar(world.path('.'))).toMatchObject({ code: 'invalid-argument', message: says(/it is a folder/) });
    expect(await tar('/dev/null')).toMatchObject({ code: 'invalid-argument', message: says(/it is not a file/) });
    const given = await fileOf({ a: 'x' });
    const onProgress = () => void truncate(given.path, 4096);
    expect(await importTar({ ...given, onProgress }).catch(failure)).toMatchObject({ message: says(/a\.tar changed/) });
  });

  it('makes a folder a layer that has all that is in it, and the same layer again', async () => {
    const folder = world.path('rich');
    expect(await tool('sh', ['-ec', richFolder, 'sh', folder])).toMatchObject({ exitCode: 0, stderr: '' });
    setXattr(join(folder, 'file'), 'user.note', 'value');
    setXattr(join(folder, 'folder'), 'trusted.note', 'other');
    setXattr(join(folder, 'folder/bytes'), 'security.capability', netRaw);
    const socket = createServer().listen(join(folder, 'socket'));
    await once(socket, 'listening');
    const guest = await Guest.open();
    try {
      const totals: [number, number][] = [];
      const onProgress = ({ step, done, total }: { step: string; done: number; total: number }) => {
        if (step === 'reading') totals.push([done, total]);
      };
      const first = await importFolder({ ...world.context, path: folder, onProgress });
      await symlink(folder, world.path('link'));
      const again = await importFolder({ ...world.context, path: world.path('link') });
      expect(again.object.digest).toBe(first.object.digest);
      const [last] = totals.slice(-1);
      expect(last![0] / last![1]).toBeGreaterThan(0.9);
      const open = await world.chains.open(stack(first.object.digest), { signal: never });
      const { '/socket': left, ...expected } = await snapshotOf(folder);
      expect(left?.type).toBe('socket');
      expect(await guest.in(open.mounts, snapshotOf)).toEqual(expected);
      await open.close();
      await first.release();
      await again.release();
    } finally {
      socket.close();
      await guest.close();
    }
  });

  it('refuses a folder that is none, or that no layer can hold', async () => {
    const folder = (path: string) => importFolder({ ...world.context, path }).catch(failure);
    expect(await folder(world.path('absent'))).toMatchObject({ code: 'not-found' });
    expect(await folder((await fileOf({ a: '' })).path)).toMatchObject({ code: 'invalid-argument' });
    await mkdir(world.path('odd'));
    await writeFile(world.path('odd/.wh.file'), '');
    expect(await folder(world.path('odd'))).toMatchObject({ code: 'failed-precondition', message: says(/\.wh\./) });
    expect(await world.unfinished()).toEqual([]);
  });

  it.each(['reading', 'unpacking'])('leaves nothing when it is cancelled while %s', async (step) => {
    const controller = new AbortController();
    const onProgress = (progress: { step: string }) => {
      if (progress.step === step) controller.abort(new Error('enough'));
    };
    const given = await fileOf({ a: 'x'.repeat(5_000_000) });
    await expect(importTar({ ...given, signal: controller.signal, onProgress })).rejects.toThrow('enough');
    expect([await world.unfinished(), await world.snapshots()]).toEqual([[], new Map()]);
  });

  it('leaves nothing when it is cancelled while the snapshotter converts', async () => {
    const controller = new AbortController();
    const path = world.path('large');
    await mkdir(path);
    await writeFile(join(path, 'zeros'), '');
    await truncate(join(path, 'zeros'), 512 * 1024 * 1024);
    const importing = importFolder({ ...world.context, path, signal: controller.signal });
    const active = async () => [...(await world.snapshots()).values()].map(({ kind }) => kind);
    await expect.poll(active, { timeout: 60_000, interval: 20 }).toEqual(['Active']);
    controller.abort(new Error('enough'));
    await expect(importing).rejects.toThrow('enough');
    expect([await world.unfinished(), await world.snapshots()]).toEqual([[], new Map()]);
  });

  it.each(['reading', 'unpacking'])('that is killed while %s is swept by a later command', async (step) => {
    await mkdir(world.path(step));
    await writeFile(world.path(`${step}/file`), 'x'.repeat(5_000_000));
    const program = join(packageRoot(), 'test/spfs/chains/process-child.ts');
    const args = ['--import', 'tsx', program, world.containerd.address, 'import-and-die', world.path(step), step];
    const [, signal] = (await once(spawn(process.execPath, args, { stdio: 'inherit' }), 'exit')) as unknown[];
    expect(signal).toBe('SIGKILL');
    await world.collect();
    expect(await world.unfinished()).not.toEqual([]);
    expect(await world.chains.sweep(never)).toBe(1);
    expect(await world.unfinished()).toEqual([]);
    expect((await stat(world.path(step))).isDirectory()).toBe(true);
  });
});

/** `cap_net_raw` effective and permitted: struct vfs_cap_data of version 2, little-endian, as linux/capability.h has it. */
const netRaw = Buffer.from([1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

/** A folder with one of each that a layer can hold. */
const richFolder = `
mkdir -p "$1/folder/empty" && cd "$1" && umask 022
echo text > file && ln file folder/hard-link && ln -s ../file folder/symlink && chmod 4755 file
head -c 100000 /dev/urandom > folder/bytes && truncate -s 3M folder/sparse && printf end >> folder/sparse
mkfifo fifo && mknod device c 1 3 && mknod block b 7 200
printf x > "$(printf 'latin1-\\351')" && printf x > 'Grüße 日本語'
chown 1000:2000 folder/bytes && chmod 1777 folder/empty && chmod 750 .
touch -d '1999-12-31 23:59:59.123456789' folder/sparse && touch -h -d '2001-01-01' folder/symlink
`;
