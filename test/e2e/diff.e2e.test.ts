import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { gunzipSync } from 'node:zlib';

import { Client, credentials, Metadata } from '@grpc/grpc-js';
import { afterAll, beforeAll, expect, it } from 'vitest';

import { snapshotterName } from '../../scripts/rig/containerd.js';
import { blobPath, chainId, LayoutWriter, mediaTypes, sha256 } from '../../scripts/rig/oci-layout.js';
import { pushImage } from '../../scripts/rig/push.js';
import { diffService, loadDefinitions, ServiceClient, type DiffMethods } from '../../src/protocol/index.js';
import type { Descriptor, Mount } from '../../src/vocabulary.js';
import { Guest } from '../conformance/guest-mounts.js';
import { snapshotOf, type Tree } from '../conformance/tree.js';
import { requires } from '../harness/requires.js';
import { startWorld, type World } from './world.js';

const deadlineMs = 60_000;

requires(
  'root',
  'loop',
  'erofs',
  'ext4',
  'overlay',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
  'demo-packages',
)('a container becomes a layer, through containerd', () => {
  let world: World;
  let guest: Guest;
  let channel: Client;
  let diff: ServiceClient<DiffMethods>;
  let parent: string;

  beforeAll(async () => {
    world = await startWorld();
    guest = await Guest.open();
    channel = new Client(`unix:${world.containerd.address}`, credentials.createInsecure());
    diff = new ServiceClient(channel, loadDefinitions([diffService]), diffService);
    await world.pull();
    parent = world.chain.at(-1)!;
  });
  afterAll(async () => {
    channel.close();
    await guest.close();
    await world.close();
  });

  /** Prepares a container and writes to it as its guest does; what the guest sees in the end. */
  async function container(key: string): Promise<{ mounts: readonly Mount[]; tree: Tree }> {
    const mounts = await world.client.prepare(key, parent, { 'containerd.io/gc.root': 'test' });
    const tree = await guest.in(mounts, async (root) => {
      await rm(join(root, 'etc/debian_version'));
      for (let file = 0; file < 10; file += 1) await writeFile(join(root, 'etc', `new-${file}`), `file ${file}\n`);
      return snapshotOf(root);
    });
    return { mounts, tree };
  }

  const ctr = (...args: string[]) => world.containerd.ctr(args);
  const leases = async () => (await ctr('leases', 'ls', '--quiet')).split('\n').filter((id) => id !== '');
  const labelsOf = async (digest: string) =>
    (await ctr('content', 'ls')).split('\n').find((line) => line.startsWith(digest));

  /** What a client does to commit a container (containerd's rootfs.CreateDiff), with a lease of its own. */
  async function createDiff(key: string, mediaType = ''): Promise<Descriptor> {
    const metadata = new Metadata();
    metadata.set('containerd-namespace', 'default');
    metadata.set('containerd-lease', 'client');
    const lower = `${key}-parent-view`;
    const left = await world.client.view(lower, parent);
    try {
      const right = await world.client.mounts(key);
      const request = { left, right, mediaType, ref: '', labels: { from: key }, sourceDateEpoch: null };
      const { diff: made } = await diff.unary('Diff', request, { metadata, deadlineMs });
      return { mediaType: made!.mediaType, digest: made!.digest, size: Number(made!.size) };
    } finally {
      await world.client.remove(lower);
    }
  }

  it('that an image is made of, from which others see the same tree', async () => {
    const { tree } = await container('committed');
    await ctr('leases', 'create', '--id', 'client');
    const descriptor = await createDiff('committed');
    expect(descriptor.mediaType).toBe(mediaTypes.layer.gzip);
    const file = join(await mkdtemp(join(world.folder, 'diff-')), 'layer');
    const blob = await get(descriptor.digest);
    await writeFile(file, blob);
    expect([sha256(blob), blob.length]).toEqual([descriptor.digest, descriptor.size]);
    const diffId = sha256(gunzipSync(blob));
    expect(await labelsOf(descriptor.digest)).toContain(`containerd.io/uncompressed=${diffId}`);
    expect(await labelsOf(descriptor.digest)).toContain('from=committed');

    const layout = new LayoutWriter(join(world.folder, 'committed'));
    await layout.open();
    const layers = [];
    for (const [index, layer] of world.image.manifest.layers.entries()) {
      const path = blobPath(world.image.layout, layer.digest);
      layers.push({
        descriptor: await layout.addFile(path, layer.mediaType, true),
        diffId: world.image.diffIds[index]!,
      });
    }
    layers.push({ descriptor: await layout.addFile(file, descriptor.mediaType), diffId });
    const image = await layout.finish('committed', layers);
    const name = await pushImage(image, world.registry.host, 'committed', 'latest');
    await ctr('images', 'pull', '--plain-http', '--snapshotter', snapshotterName, name);
    const mounts = await world.client.view('committed-view', chainId(image.diffIds));
    expect(await guest.in(mounts, (root) => snapshotOf(root))).toEqual(tree);
    await ctr('leases', 'delete', '--sync', 'client');
  });

  it('that stays until it is referred to, although containerd keeps the lease of its client to itself', async () => {
    await container('leased');
    await ctr('leases', 'create', '--id', 'client');
    const descriptor = await createDiff('leased');
    await ctr('leases', 'delete', '--sync', 'client');
    expect((await get(descriptor.digest)).length).toBe(descriptor.size);
    const ours = (await leases()).filter((id) => id.startsWith('erofs-snapshotter-'));
    expect(ours.length).toBeGreaterThan(0);
    for (const id of ours) await ctr('leases', 'delete', '--sync', id);
    await expect(get(descriptor.digest)).rejects.toThrow(/not found/);
  });

  it('that "ctr snapshots diff" prints: of a container, of a committed snapshot, of any two', async () => {
    await container('printed');
    const names = async (...args: string[]) => {
      const mediaType = mediaTypes.layer.plain;
      const printed = await binary(
        'snapshots',
        '--snapshotter',
        snapshotterName,
        'diff',
        '--media-type',
        mediaType,
        ...args,
      );
      const list = promisify(execFile)('tar', ['--list', '--file=-'], { maxBuffer: 2 ** 26 });
      list.child.stdin!.end(printed);
      return (await list).stdout.trim().split('\n');
    };
    const expected = [
      './',
      'etc/',
      'etc/.wh.debian_version',
      ...Array.from({ length: 10 }, (_, file) => `etc/new-${file}`),
    ];
    expect((await names('printed')).sort()).toEqual(expected.sort());
    expect(await names(parent)).not.toEqual([]);
    expect((await names(parent, 'printed')).sort()).toEqual(expected.sort());
  });

  it('and other differs still take what is theirs', async () => {
    await ctr('snapshots', '--snapshotter', 'overlayfs', 'prepare', 'foreign');
    const printed = await binary('snapshots', '--snapshotter', 'overlayfs', 'diff', 'foreign');
    expect(gunzipSync(printed).length).toBeGreaterThanOrEqual(1024);
  });

  async function binary(...args: string[]): Promise<Buffer> {
    const options = { encoding: 'buffer', maxBuffer: 2 ** 28 } as const;
    return (await promisify(execFile)('ctr', ['--address', world.containerd.address, ...args], options)).stdout;
  }

  const get = (digest: string) => binary('content', 'get', digest);
});
