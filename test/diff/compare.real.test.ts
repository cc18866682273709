import { execFile } from 'node:child_process';
import { link, lutimes, mkdir, rename, rm, symlink, truncate, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import * as change from '../conformance/changes.js';
import { inOrder } from '../conformance/chains.js';
import type { Tree } from '../conformance/tree.js';
import { getXattr } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { makeCompareWorld, plain, sayable, sha256, type CompareWorld } from './compare-world.js';

const exec = promisify(execFile);
const bytes = (root: string, name: Buffer) => Buffer.concat([Buffer.from(`${root}/`), name]);
const foreignName = Buffer.from('latin1-\xe9\xff', 'latin1');
const longName = 'n'.repeat(255);
const longPath = ['a'.repeat(120), 'b'.repeat(120), 'c'.repeat(120)].join('/');

/** What the images below the containers hold. */
const below = inOrder(
  change.folder('etc', 0o750),
  change.file('etc/passwd', 'root\n'),
  change.file('etc/gone'),
  change.folder('tree'),
  change.folder('tree/deep'),
  change.file('tree/deep/file'),
  change.folder('emptied'),
  change.file('emptied/old'),
  change.folder('swapped'),
  change.file('swapped/inside'),
  change.file('becomes-folder'),
  change.file('linked-1', 'linked'),
  change.hardLink('linked-1', 'linked-2'),
  change.file('whole-second', 'before'),
  change.time('whole-second', 1_500_000_000),
  change.file('kept', 'kept'),
);

/** Everything that a layer can say, and a socket, which it cannot. */
const everything = inOrder(
  change.file('etc/passwd', 'root\nuser\n', 0o640),
  change.gone('etc/gone'),
  change.gone('tree'),
  change.gone('emptied'),
  change.folder('emptied', 0o700),
  change.file('emptied/new'),
  change.gone('swapped'),
  change.file('swapped', 'a file now'),
  change.gone('becomes-folder'),
  change.folder('becomes-folder'),
  change.file('becomes-folder/inside'),
  change.file('hard-b', 'hard'),
  change.hardLink('hard-b', 'hard-a'),
  change.hardLink('hard-b', 'etc/hard-c'),
  change.symbolicLink('../anywhere', 'soft'),
  change.symbolicLink('t'.repeat(200), 'soft-long'),
  change.fifo('fifo'),
  change.device('character', 'c', 1, 3),
  change.device('block', 'b', 259, 70_000),
  change.socket('socket'),
  change.file('setuid', 'x', 0o4755),
  change.xattr('setuid', 'user.binary', Buffer.from([0, 10, 61, 255])),
  change.xattr('setuid', 'user.empty', ''),
  change.xattr('etc/passwd', 'security.capability', change.netRawCapability),
  change.xattr('etc', 'trusted.mark', 'yes'),
  change.sparseFile('sparse', 3_000_000),
  change.file(longName),
  change.file('ünï-長'),
  change.file('big-owner'),
  change.owner('big-owner', 3_000_000_000, 4_000_000),
  change.file('newline\nname'),
  change.file('before-1970'),
  change.file('sub-second'),
  change.mode('kept', 0o600),
  async (root) => {
    await mkdir(join(root, longPath), { recursive: true });
    await writeFile(join(root, longPath, 'file'), 'far down');
    await writeFile(bytes(root, foreignName), 'bytes');
    await symlink(foreignName, bytes(root, Buffer.from('to-\xe9', 'latin1')));
    await exec('touch', ['-h', '-d', '@-12345.25', join(root, 'before-1970')]);
    await exec('touch', ['-d', '@1600000000.123456789', join(root, 'sub-second')]);
    await lutimes(join(root, 'soft'), 1_234_567_890, 1_234_567_890);
    await truncate(join(root, 'sparse'), 2_900_001);
  },
);

requires(
  'root',
  'loop',
  'erofs',
  'ext4',
  'overlay',
  'mkfs.erofs',
  'mkfs.ext4',
)('Diff', () => {
  let world: CompareWorld;
  let base: Tree;
  beforeAll(async () => {
    world = await makeCompareWorld();
    await world.layer('first', '', below);
    base = await world.layer('base', 'first', change.file('second-layer'));
  });
  afterAll(() => world.close());
  afterEach(async () => expect(await world.leftovers()).toEqual([]));

  it('of a container against its image, from the upper alone: applied to the image it gives the same tree', async () => {
    const { mounts, tree } = await world.active('everything', 'base', everything);
    const descriptor = await world.compare(await world.view('base'), mounts);
    expect(world.routes.at(-1)).toBe('upper');
    expect(descriptor).toEqual({
      mediaType: plain,
      digest: sha256(world.tar(descriptor)),
      size: world.tar(descriptor).length,
    });
    const { name, tree: again } = await world.applied(descriptor, 'base');
    expect(again).toEqual(sayable(tree));

    // The committed layer, read as an upper, says the same again.
    const second = await world.compare(await world.view('base'), await world.view(name));
    expect(world.routes.at(-1)).toBe('upper');
    expect((await world.applied(second, 'base')).tree).toEqual(sayable(tree));

    // And so do whole trees, over two layers at once.
    const third = await world.compare(await world.view('first'), await world.view(name));
    expect(world.routes.at(-1)).toBe('trees');
    expect((await world.applied(third, 'first')).tree).toEqual(sayable(tree));
  });

  it('writes a tar that GNU tar reads: sorted, parents first, whiteouts and opaque marks in their places', async () => {
    const { mounts } = await world.active('listed', 'base', everything);
    const tar = world.tar(await world.compare(await world.view('base'), mounts));
    const list = exec('tar', ['--list', '--quoting-style=escape', '--file=-'], { maxBuffer: 2 ** 24 });
    list.child.stdin!.end(tar);
    const { stdout, stderr } = await list;
    const names = stdout.trim().split('\n');
    expect(stderr).toBe('');
    expect(names[0]).toBe('./');
    expect(names).toEqual(expect.arrayContaining(['etc/.wh.gone', '.wh.tree', 'swapped', 'becomes-folder/inside']));
    expect(names[names.indexOf('emptied/') + 1]).toBe('emptied/.wh..wh..opq');
    expect(names).not.toContain('socket');
    expect(names).toContain('latin1-\\351\\377');
    const position = (name: string) => names.indexOf(name);
    for (const name of names.slice(1)) {
      const parent = name.replace(/[^/]+\/?$/, '');
      if (parent !== '') expect(position(parent)).toBeLessThan(position(name));
    }
    const verbose = exec('tar', ['--list', '--verbose', '--numeric-owner', '--full-time', '--file=-'], {
      maxBuffer: 2 ** 24,
    });
    verbose.child.stdin!.end(tar);
    const lines = (await verbose).stdout;
    expect(lines).toMatch(/3000000000\/4000000 .* big-owner/);
    expect(lines).toMatch(/h.* hard-a link to etc\/hard-c/);
    expect(lines).toMatch(/brw-r----- .*259,70000 .* block/);
  });

  it('is the same, byte for byte, whenever it is made, and in every compression unpacks to the same tar', async () => {
    const { mounts } = await world.active('again', 'base', everything);
    const first = await world.compare(await world.view('base'), mounts);
    expect(await world.compare(await world.view('base'), mounts)).toEqual(first);
    const gzip = await world.compare(await world.view('base'), mounts, { mediaType: '' });
    expect(gzip.mediaType).toBe(`${plain}+gzip`);
    expect(world.tar(gzip).equals(world.tar(first))).toBe(true);
    expect(world.blobs.get(gzip.digest)!.bytes.subarray(0, 10).toString('hex')).toBe('1f8b0800000000000003');
    expect(world.blobs.get(gzip.digest)!.labels).toEqual({ 'containerd.io/uncompressed': first.digest });
    expect(await world.compare(await world.view('base'), mounts, { mediaType: `${plain}+gzip` })).toEqual(gzip);
    const zstd = await world.compare(await world.view('base'), mounts, { mediaType: `${plain}+zstd` });
    expect(await world.compare(await world.view('base'), mounts, { mediaType: `${plain}+zstd` })).toEqual(zstd);
    expect(world.blobs.get(zstd.digest)!.labels).toEqual({ 'containerd.io/uncompressed': first.digest });
    const unzstd = exec('zstd', ['-dc'], { encoding: 'buffer', maxBuffer: 2 ** 26 });
    unzstd.child.stdin!.end(world.blobs.get(zstd.digest)!.bytes);
    expect((await unzstd).stdout.equals(world.tar(first))).toBe(true);
  });

  it('makes nothing younger than the source date epoch, which is the time of whiteouts then', async () => {
    const { mounts } = await world.active(
      'epoch',
      'base',
      inOrder(change.file('new'), change.gone('kept'), change.file('old'), change.time('old', 5)),
    );
    const list = async (sourceDateEpoch?: bigint) => {
      const descriptor = await world.compare(
        await world.view('base'),
        mounts,
        sourceDateEpoch === undefined ? {} : { sourceDateEpoch },
      );
      const listing = exec('tar', ['--list', '--verbose', '--full-time', '--utc', '--file=-']);
      listing.child.stdin!.end(world.tar(descriptor));
      return (await listing).stdout;
    };
    const text = await list(1_000_000_000_500_000_000n);
    expect(text).toMatch(/2001-09-09 01:46:40\.5 new/);
    expect(text).toMatch(/2001-09-09 01:46:40\.5 \.wh\.kept/);
    expect(text).toMatch(/1970-01-01 00:00:05 +old/);
    expect(await list()).toMatch(/1970-01-01 00:00:00 +\.wh\.kept/);
  });

  it('of a container whose guest renamed folders and changed attributes without copying is whole all the same', async () => {
    const features = ['redirect_dir=on', 'metacopy=on', 'index=off'];
    const { mounts, tree } = await world.active(
      'features',
      'base',
      async (root) => {
        await rename(join(root, 'tree'), join(root, 'moved'));
        await change.mode('etc/passwd', 0o600)(root);
        await writeFile(join(root, 'moved/deep/more'), 'more');
      },
      features,
    );
    const descriptor = await world.compare(await world.view('base'), mounts);
    expect((await world.applied(descriptor, 'base')).tree).toEqual(tree);
  });

  it('keeps the marks of an overlay inside the container, which are not those of the overlay outside', async () => {
    const nested = inOrder(
      change.folder('storage'),
      change.xattr('storage', 'trusted.overlay.opaque', 'y'),
      change.xattr('tree', 'user.overlay.opaque', 'y'),
    );
    const { mounts, tree } = await world.active('nested', 'base', nested);
    const markOf = (root: string) => Promise.resolve(getXattr(join(root, 'storage'), 'trusted.overlay.opaque'));
    for (const [parent, left] of [
      ['base', await world.view('base')],
      ['first', await world.view('first')],
    ] as const) {
      const { name, tree: again } = await world.applied(await world.compare(left, mounts), parent);
      const container = await world.world.port.prepare(`on-${name}`, name);
      expect((await world.guest.in(container, markOf))?.toString()).toBe('y');
      // A folder that was copied up is not opaque, whatever its own overlays say of it.
      expect(again['/tree/deep/file']).toEqual(tree['/tree/deep/file']);
    }
    expect(world.routes.slice(-2)).toEqual(['upper', 'trees']);
  });

  it('of a container without an image is its whole tree', async () => {
    const { mounts, tree } = await world.active('from-scratch', '', below);
    const descriptor = await world.compare(await world.view(''), mounts);
    expect(world.routes.at(-1)).toBe('upper');
    expect((await world.applied(descriptor, '')).tree).toEqual(tree);
  });

  it('of any two images leads from one to the other: back to the parent, from and to nothing', async () => {
    const back = await world.compare(await world.view('base'), await world.view('first'));
    expect((await world.applied(back, 'base')).tree).toEqual(await world.tree('first'));
    const whole = await world.compare(await world.view(''), await world.view('base'));
    expect((await world.applied(whole, '')).tree).toEqual(base);
    const same = await world.compare(await world.view('base'), await world.view('base'));
    expect(world.tar(same).equals(Buffer.alloc(1024))).toBe(true);
  });

  it('of two containers compares what both wrote', async () => {
    const one = await world.active('one', 'base', inOrder(change.file('mine', '1'), change.gone('kept')));
    const other = await world.active(
      'other',
      'first',
      inOrder(change.file('mine', '2'), change.file('kept', 'changed')),
    );
    const descriptor = await world.compare(one.mounts, other.mounts);
    expect(world.routes.at(-1)).toBe('trees');
    await world.world.port.commit('one-committed', 'one');
    expect((await world.applied(descriptor, 'one-committed')).tree).toEqual(other.tree);
  });

  it('sees content that changed although size and time in whole seconds did not, and links that were regrouped', async () => {
    await world.layer('links', 'base', async (root) => {
      await writeFile(join(root, 'whole-second'), 'after!');
      await utimes(join(root, 'whole-second'), 1_500_000_000, 1_500_000_000);
      await link(join(root, 'kept'), join(root, 'kept-too'));
      await rm(join(root, 'linked-2'));
      await writeFile(join(root, 'linked-2'), 'linked');
    });
    await world.layer('on-top', 'links', change.file('top'));
    const descriptor = await world.compare(await world.view('base'), await world.view('on-top'));
    expect(world.routes.at(-1)).toBe('trees');
    expect((await world.applied(descriptor, 'base')).tree).toEqual(await world.tree('on-top'));
  });
});
