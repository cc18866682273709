import { mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { LayoutWriter, mediaTypes, sha256, sha256OfFile } from '../../scripts/rig/oci-layout.js';
import { tool } from '../../scripts/rig/process.js';
import { pushImage } from '../../scripts/rig/push.js';
import { hexOf, parseDigest } from '../../src/vocabulary.js';
import { requires } from '../harness/requires.js';
import { nothingLeft, startWorld, type World } from './world.js';

/** Pushes an image of one layer, whose blob is not what the image says. */
async function pushDamaged(world: World, damage: (layer: Buffer) => Buffer): Promise<string> {
  const folder = await mkdtemp(join(world.folder, 'damaged-'));
  const tar = join(folder, 'layer.tar');
  await tool('tar', ['-C', world.image.layout, '-cf', tar, 'oci-layout', 'blobs']);
  const layer = await readFile(tar);
  const layout = new LayoutWriter(join(folder, 'layout'));
  await layout.open();
  const blob = join(folder, 'blob');
  await writeFile(blob, damage(layer));
  const descriptor = await layout.addFile(blob, mediaTypes.layer.gzip);
  const image = await layout.finish('damaged', [{ descriptor, diffId: sha256(layer) }]);
  return await pushImage(image, world.registry.host, 'damaged', 'latest');
}

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
  'demo-packages',
)('containerd with our plugins', () => {
  let world: World;

  beforeAll(async () => {
    world = await startWorld();
  });
  afterAll(() => world.close());
  afterEach(async () => {
    for (const namespace of ['default', 'other']) {
      const names = await world.containerd.ctr(['--namespace', namespace, 'images', 'ls', '-q']);
      for (const name of names.split('\n').filter((line) => line !== '')) await world.removeImage(name, namespace);
    }
  });

  const layerFiles = () =>
    world.image.manifest.layers.map((layer) => `sha256-${hexOf(parseDigest(layer.digest))}.erofs`);

  /** Names and digests of every layer's image below the root. */
  async function layerImages(): Promise<Record<string, string>> {
    const found: Record<string, string> = {};
    const names = layerFiles();
    for (const path of await readdir(join(world.root, 'snapshots'), { recursive: true })) {
      const name = names.find((candidate) => path.endsWith(`/${candidate}`));
      if (name !== undefined) found[name] = await sha256OfFile(join(world.root, 'snapshots', path));
    }
    return found;
  }

  it.each([
    ['the transfer service', []],
    ['its client (--local)', ['--local']],
  ])('unpacks an image through %s into a chain of committed snapshots', async (_, flags) => {
    await world.pull(...flags);
    const found = await world.client.list();
    expect(new Map(found.map((info) => [info.name, [info.kind, info.parent]]))).toEqual(
      new Map(world.chain.map((name, index) => [name, ['COMMITTED', world.chain[index - 1] ?? '']])),
    );
    expect(Object.keys(await layerImages()).sort()).toEqual([...layerFiles()].sort());
  });

  it('leaves nothing when the image is removed, and makes the same bytes when it is pulled again', async () => {
    await world.pull();
    const first = await layerImages();
    await world.removeImage();
    expect(await world.leftovers()).toEqual(nothingLeft);
    await world.pull('--local');
    expect(await layerImages()).toEqual(first);
    expect(Object.keys(first)).toHaveLength(world.chain.length);
  });

  it('keeps an image for one namespace when another removes it', async () => {
    await world.pull();
    await world.containerd.ctr([
      ...['--namespace', 'other', 'images', 'pull', '--plain-http'],
      ...['--snapshotter', snapshotterName, world.name],
    ]);
    await world.removeImage();
    expect(await world.client.list()).toEqual([]);
    const args = ['--namespace', 'other', 'snapshots', '--snapshotter', snapshotterName];
    expect((await world.containerd.ctr([...args, 'ls'])).match(/Committed/g)).toHaveLength(world.chain.length);
    await world.containerd.ctr([...args, 'prepare', 'container', world.chain.at(-1)!]);
    expect(await world.containerd.ctr([...args, 'mounts', '/mnt', 'container'])).toContain('format/erofs');
    await world.containerd.ctr([...args, 'rm', 'container']);
    await world.removeImage(world.name, 'other');
    expect(await world.leftovers()).toEqual(nothingLeft);
  });

  it.each([
    ['the transfer service', []],
    ['its client (--local)', ['--local']],
  ])('imports an archive through %s', async (_, flags) => {
    const archive = join(world.folder, 'image.tar');
    await tool('tar', ['-C', world.image.layout, '--exclude', './tmp', '-cf', archive, '.']);
    await world.containerd.ctr(['images', 'import', '--snapshotter', snapshotterName, ...flags, archive]);
    expect(await world.containerd.ctr(['images', 'ls', '-q'])).toContain('docker.io/library/demo:latest');
    expect((await world.client.list()).map((info) => info.name).sort()).toEqual([...world.chain].sort());
  });

  it('answers ctr snapshots ls, tree, info, usage, label, mounts, commit and rm', async () => {
    await world.pull();
    const top = world.chain.at(-1)!;
    await world.snapshots('prepare', 'container', top);
    // By ctr it would not be safe from garbage collection, unlike what ctr prepares.
    await world.client.view('picture', top);
    const listed = await world.snapshots('ls');
    expect(listed).toMatch(new RegExp(`container\\s+${top}\\s+Active`));
    expect(listed).toMatch(new RegExp(`picture\\s+${top}\\s+View`));
    expect((await world.snapshots('tree')).trim().split(/\s*\\_\s*|\n/)).toEqual(
      expect.arrayContaining([...world.chain, 'container', 'picture']),
    );
    expect(JSON.parse(await world.snapshots('info', top))).toMatchObject({
      Kind: 'Committed',
      Parent: world.chain.at(-2),
    });
    expect(await world.snapshots('usage')).toMatch(new RegExp(`${world.chain[0]} +[\\d.]+ MiB +\\d+`));
    expect(await world.snapshots('label', 'container', 'a=b')).toContain('a=b');
    const mounts = await world.snapshots('mounts', '/mnt', 'container');
    expect(mounts.match(/^mount -t \S+ \S+/gm)?.map((line) => line.replace(/ \/\S*\/snapshots\/\d+/, ' …'))).toEqual([
      'mount -t format/erofs …/fsmeta.erofs',
      'mount -t ext4 …/rwlayer.img',
    ]);
    expect(mounts.match(/(?<=device=\S*)sha256-[0-9a-f]+\.erofs/g)).toEqual(layerFiles());
    await world.snapshots('commit', 'committed', 'container');
    expect(JSON.parse(await world.snapshots('info', 'committed'))).toMatchObject({ Kind: 'Committed', Parent: top });
    await world.snapshots('rm', 'committed', 'picture');
    expect(await world.snapshots('ls')).not.toMatch(/committed|picture|container/);
  });

  it.each<[string, (layer: Buffer) => Buffer, RegExp]>([
    ['ends too early', (layer) => gzipSync(layer).subarray(0, -1000), /unexpected end of file/],
    ['is not what its diff ID says', (layer) => gzipSync(Buffer.concat([layer, Buffer.alloc(1024)])), /wrong diff id/],
    ['is no tar', () => gzipSync(Buffer.alloc(4096, 'x')), /tar is malformed/],
  ])('fails the pull of an image with a layer that %s, and keeps nothing of it', async (_, damage, message) => {
    const name = await pushDamaged(world, damage);
    const args = ['images', 'pull', '--plain-http', '--snapshotter', snapshotterName, name];
    const failed = await world.containerd.tryCtr(args);
    expect([failed.exitCode, failed.stderr]).toEqual([1, expect.stringMatching(message)]);
    await world.pull();
    await world.removeImage();
    expect(await world.leftovers()).toEqual(nothingLeft);
  });

  it('refuses what cannot be done, saying why', async () => {
    await world.pull();
    const attempt = async (...args: string[]) =>
      (await world.containerd.tryCtr(['snapshots', '--snapshotter', snapshotterName, ...args])).stderr;
    expect(await attempt('rm', world.chain[0]!)).toContain('failed precondition');
    expect(await attempt('prepare', 'orphan', 'absent')).toContain('not found');
    expect(await attempt('mounts', '/mnt', world.chain[0]!)).toContain('is committed and has no mounts');
    expect(await attempt('mounts', '/mnt', 'absent')).toContain('not found');
  });
});
