import { chmod, mkdir, mkdtemp, readFile, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { LayerTar } from '../../scripts/rig/layer-tar.js';
import { blobPath, chainId, LayoutWriter } from '../../scripts/rig/oci-layout.js';
import { tool } from '../../scripts/rig/process.js';
import { pushImage } from '../../scripts/rig/push.js';
import { SnapshotsClient } from '../../scripts/rig/snapshots-client.js';
import { requires } from '../harness/requires.js';
import { nothingLeft, startWorld, type World } from './world.js';

const ref = 'containerd.io/snapshot.ref';
const diffId = 'containerd.io/snapshot/diff-id';
/** gRPC's status ALREADY_EXISTS. */
const alreadyExists = 6;

/** A mkfs.erofs to find before the real one, which writes down how it is called. */
async function countedTool(): Promise<{ folder: string; calls: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  const calls = join(folder, 'calls');
  const real = (await tool('which', ['mkfs.erofs'])).stdout.trim();
  const program = join(folder, 'mkfs.erofs');
  await writeFile(program, `#!/bin/sh\necho "$*" >> "${calls}"\nexec "${real}" "$@"\n`);
  await chmod(program, 0o755);
  return { folder, calls };
}

/** Opens the world that the tests of one suite share. */
function sharedWorld(daemonArgs: readonly string[]) {
  let counted: { folder: string; calls: string };
  const path = process.env['PATH'];
  const here = {} as { world: World; other: SnapshotsClient };

  beforeAll(async () => {
    counted = await countedTool();
    process.env['PATH'] = `${counted.folder}:${path}`;
    here.world = await startWorld({ daemonArgs });
    here.other = new SnapshotsClient(here.world.containerd.address, 'other');
  });
  afterAll(async () => {
    process.env['PATH'] = path;
    here.other.close();
    await here.world.close();
    await rm(counted.folder, { recursive: true });
  });
  afterEach(async () => {
    for (const namespace of ['default', 'other']) {
      const names = await here.world.containerd.ctr(['--namespace', namespace, 'images', 'ls', '-q']);
      for (const name of names.split('\n').filter((line) => line !== '')) await here.world.removeImage(name, namespace);
    }
    expect(await here.world.leftovers()).toEqual(nothingLeft);
  });

  const ctr = (...args: readonly string[]) => here.world.containerd.ctr(['--namespace', 'other', ...args]);
  return {
    here,
    ctr,
    pull: (...flags: readonly string[]) =>
      ctr('images', 'pull', '--plain-http', '--snapshotter', snapshotterName, ...flags, here.world.name),
    /** How many tars `work` had converted. */
    conversions: async (work: () => Promise<unknown>) => {
      await writeFile(counted.calls, '');
      await work();
      return (await readFile(counted.calls, 'utf8')).split('\n').filter((line) => line.includes('--tar=')).length;
    },
    chainIn: async (client: SnapshotsClient) =>
      new Map((await client.list()).map(({ name, kind, parent }) => [name, [kind, parent]])),
    /** Prepares a container, removes it again, and returns the kinds of its mounts. */
    tryContainer: async (client: SnapshotsClient) => {
      const mounts = await client.prepare('container', here.world.chain.at(-1)!);
      expect(await client.mounts('container')).toEqual(mounts);
      for (const file of mounts.flatMap(({ source, options }) => [source, ...options.map(deviceOf)])) {
        if (file !== undefined) await stat(file);
      }
      await client.remove('container');
      return mounts.map(({ type }) => type);
    },
  };
}

function deviceOf(option: string): string | undefined {
  return option.startsWith('device=') ? option.slice('device='.length) : undefined;
}

const container = ['format/erofs', 'ext4'];
const needs = ['root', 'mkfs.erofs', 'mkfs.ext4', 'containerd', 'registry', 'demo-packages'] as const;

requires(...needs)('an image that another namespace has', () => {
  const { here, ctr, pull, conversions, chainIn, tryContainer } = sharedWorld([]);
  const wholeChain = () =>
    new Map(here.world.chain.map((name, index) => [name, ['COMMITTED', here.world.chain[index - 1] ?? '']]));
  const snapshotFolders = () => readdir(join(here.world.root, 'snapshots'));
  const layerFiles = async () => {
    const paths = await readdir(join(here.world.root, 'snapshots'), { recursive: true });
    return paths.filter((path) => /sha256-.*erofs$/.test(path)).map((path) => join(here.world.root, 'snapshots', path));
  };

  it('is pulled without one conversion, download or folder more', async () => {
    expect(await conversions(() => here.world.pull())).toBe(here.world.chain.length);
    const folders = await snapshotFolders();
    expect(await conversions(() => pull())).toBe(0);
    expect(await snapshotFolders()).toEqual(folders);
    expect(await chainIn(here.other)).toEqual(wholeChain());
    expect(await tryContainer(here.other)).toEqual(container);
    const blobs = await ctr('content', 'ls', '-q');
    for (const { digest } of here.world.image.manifest.layers) expect(blobs).not.toContain(digest);
  });

  it('is pulled by `ctr images pull --local`, whose Prepare names no layer, without one conversion', async () => {
    await here.world.pull();
    expect(await conversions(() => pull('--local'))).toBe(0);
    expect(await chainIn(here.other)).toEqual(wholeChain());
    for (const path of await layerFiles()) expect((await stat(path)).nlink).toBe(2);
  });

  it('is found by a pull that names its layers after one that did not', async () => {
    await here.world.pull('--local');
    expect(await conversions(() => pull())).toBe(0);
    expect(await chainIn(here.other)).toEqual(wholeChain());
    await here.world.removeImage();
    expect(await tryContainer(here.other)).toEqual(container);
  });

  it('stays whole for either namespace when the other removes it', async () => {
    await here.world.pull();
    await pull();
    await here.world.removeImage();
    expect(await here.world.client.list()).toEqual([]);
    expect(await chainIn(here.other)).toEqual(wholeChain());
    expect(await tryContainer(here.other)).toEqual(container);
    expect(await conversions(() => here.world.pull())).toBe(0);
    await here.world.removeImage(here.world.name, 'other');
    expect(await here.other.list()).toEqual([]);
    expect(await chainIn(here.world.client)).toEqual(wholeChain());
    expect(await tryContainer(here.world.client)).toEqual(container);
  });

  it('is still known after a restart of the snapshotter', async () => {
    await here.world.pull();
    await here.world.daemon.kill();
    await here.world.daemon.start();
    expect(await conversions(() => pull())).toBe(0);
    expect(await chainIn(here.other)).toEqual(wholeChain());
    expect(await tryContainer(here.other)).toEqual(container);
  });

  it('can be exported by the second namespace once its blobs were fetched', async () => {
    await here.world.pull();
    await pull();
    const archive = join(here.world.folder, 'exported.tar');
    const name = here.world.name;
    const refused = await here.world.containerd.tryCtr(['-n', 'other', 'images', 'export', '--local', archive, name]);
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining('not found')]);
    expect(await conversions(() => ctr('content', 'fetch', '--plain-http', name))).toBe(0);
    await ctr('images', 'export', '--local', archive, name);
    await rm(archive);
  });

  it('lends its lower layers to an image that differs above them', async () => {
    await here.world.pull();
    const { image } = here.world;
    const folder = join(here.world.folder, 'sibling');
    const layout = new LayoutWriter(folder);
    await mkdir(folder, { recursive: true });
    await layout.open();
    const layers = [];
    for (const [index, { mediaType, digest }] of image.manifest.layers.slice(0, 2).entries()) {
      const descriptor = await layout.addFile(blobPath(image.layout, digest), mediaType, true);
      layers.push({ descriptor, diffId: image.diffIds[index]! });
    }
    const top = new LayerTar(join(folder, 'top.tar'));
    await top.file('etc/sibling', 'of the other image\n');
    layers.push(await top.finish(layout, 'gzip'));
    const sibling = await layout.finish('sibling', layers);
    const name = await pushImage(sibling, here.world.registry.host, 'sibling', 'latest');

    const args = ['images', 'pull', '--plain-http', '--snapshotter', snapshotterName, name];
    expect(await conversions(() => ctr(...args))).toBe(1);
    expect([...(await chainIn(here.other)).keys()].sort()).toEqual(
      sibling.diffIds.map((_, index) => chainId(sibling.diffIds.slice(0, index + 1))).sort(),
    );
  });

  it('lends a layer by its diff ID to a chain of other layers, asked for through containerd', async () => {
    await here.world.pull();
    const [, second, third] = here.world.image.diffIds as [string, string, string];
    const chain = [third, second].map((_, index) => chainId([third, second].slice(0, index + 1))) as [string, string];
    const keep = { 'containerd.io/gc.root': '2024-01-01T00:00:00Z' };
    expect(
      await conversions(async () => {
        for (const [index, one] of [third, second].entries()) {
          const labels = { ...keep, [ref]: chain[index]!, [diffId]: one };
          const asked = here.other.prepare(`spfs-${index}`, chain[index - 1] ?? '', labels);
          await expect(asked).rejects.toMatchObject({ code: alreadyExists });
        }
      }),
    ).toBe(0);
    expect(await chainIn(here.other)).toEqual(
      new Map([
        [chain[0], ['COMMITTED', '']],
        [chain[1], ['COMMITTED', chain[0]]],
      ]),
    );
    const mounts = await here.other.view('look', chain[1]);
    expect(mounts.map(({ type }) => type)).toEqual(['format/erofs']);
    await here.world.removeImage();
    expect(await here.other.mounts('look')).toEqual(mounts);
    for (const name of ['look', chain[1], chain[0]]) await here.other.remove(name);
    // A removal alone waits for the next garbage collection; that of an image does not.
    await here.world.pull();
    await here.world.removeImage();
  });
});

describe('share_layers = "namespace"', () => {
  requires(...needs)('an image that another namespace has', () => {
    const { here, pull, conversions, tryContainer } = sharedWorld(['--share-layers=namespace']);

    it('is pulled and converted again, in folders of its own', async () => {
      const layers = here.world.chain.length;
      expect(await conversions(() => here.world.pull())).toBe(layers);
      expect(await conversions(() => pull())).toBe(layers);
      const folders = await readdir(join(here.world.root, 'snapshots'));
      expect(folders).toHaveLength(2 * layers);
      for (const { digest } of here.world.image.manifest.layers) {
        const name = `${digest.replace(':', '-')}.erofs`;
        const found = await Promise.all(folders.map((id) => linksOf(join(here.world.root, 'snapshots', id, name))));
        expect(found.filter((links) => links !== undefined)).toEqual([1, 1]);
      }
      expect(await tryContainer(here.other)).toEqual(container);
    });

    it('is not lent by its diff ID, and is to its own namespace', async () => {
      await here.world.pull();
      const [, second] = here.world.image.diffIds as [string, string];
      const labels = { [ref]: second, [diffId]: second };
      const [bind] = await here.other.prepare('mine', '', labels);
      expect(bind?.type).toBe('ext4');
      await here.other.remove('mine');
      await expect(here.world.client.prepare('ours', '', labels)).rejects.toMatchObject({ code: alreadyExists });
      expect((await here.world.client.list()).map(({ name }) => name)).toContain(second);
      await here.world.client.remove(second);
    });
  });
});

async function linksOf(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.nlink;
}
