import {
  copyFile,
  cp,
  mkdir,
  open,
  readdir,
  readFile,
  realpath,
  rename,
  rm,
  symlink,
  truncate,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { listLoopDevices, listMounts, run } from '../../src/host/index.js';
import { makeInProcessWorld, openSnapshotter, portOf, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';
import { applyTo, digestOf } from './applied.js';
import { makeChain } from './crash-operations.js';

const snapshotFolder = (world: InProcessWorld, id: number) => join(world.root, 'snapshots', String(id));

/** Ids are given in order: c1 to c3 are 1 to 3, `old` is 4, `old-view` is 5. */
requires(
  'root',
  'loop',
  'ext4',
  'mkfs.erofs',
  'mkfs.ext4',
)('a start', () => {
  let world: InProcessWorld;
  beforeEach(async () => {
    world = await makeInProcessWorld();
    await makeChain(world.snapshotter);
  });
  afterEach(() => world.close());

  /** Restarts with a change made to the root while nothing runs. */
  async function restart(change: () => Promise<unknown>): Promise<void> {
    await world.snapshotter.close();
    await change();
    await world.reopen();
  }

  it.each([
    ['deleted', (layer: string) => rm(layer)],
    ['truncated', (layer: string) => truncate(layer, 4096)],
    ['empty', (layer: string) => truncate(layer, 0)],
    ['another image', (layer: string) => copyFile(join(layer, '..', '..', '3', 'layer.erofs'), layer)],
  ])(
    'is not blocked by a layer that is %s: its children say why, all else works, and it heals',
    async (_how, damage) => {
      // The file itself, not the link to it.
      const layer = await realpath(join(snapshotFolder(world, 2), 'layer.erofs'));
      const mounts = await world.port.mounts('old');
      await copyFile(layer, `${world.root}.kept`);
      await restart(() => damage(layer));
      const refused = { code: 'failed-precondition' };
      await expect(world.port.prepare('box', 'c2')).rejects.toMatchObject(refused);
      await expect(world.port.view('look', 'c3')).rejects.toMatchObject(refused);
      await expect(world.port.mounts('old')).rejects.toMatchObject(refused);
      await expect(world.port.mounts('old-view')).rejects.toThrow(/"c2" cannot be used/);
      expect(await world.port.list()).toHaveLength(5);
      expect((await world.port.stat('c2')).kind).toBe('committed');
      await world.port.view('fine', 'c1');
      await restart(() => rename(`${world.root}.kept`, layer));
      expect(await world.port.mounts('old')).toEqual(mounts);
      await world.port.view('look', 'c3');
    },
  );

  it('lets a quarantined snapshot be removed, children first', async () => {
    await restart(() => rm(snapshotFolder(world, 2), { recursive: true }));
    for (const key of ['old', 'old-view', 'c3', 'c2', 'c1']) await world.port.remove(key);
    expect(await world.port.list()).toEqual([]);
  });

  it.each([
    ['lost', (root: string) => rm(join(root, 'metadata.db'), { recursive: true })],
    ['without its manifest', (root: string) => removeMatching(join(root, 'metadata.db'), /^(CURRENT|MANIFEST)/)],
    ['overwritten with garbage', (root: string) => overwriteAll(join(root, 'metadata.db'))],
    ['cut short', (root: string) => truncateMatching(join(root, 'metadata.db'), /\.log$/)],
    [
      'a file',
      async (root: string) => {
        await rm(join(root, 'metadata.db'), { recursive: true });
        await writeFile(join(root, 'metadata.db'), 'not a folder');
      },
    ],
  ])('with a database that is %s loses no snapshot, label or answer', async (_how, damage) => {
    await world.port.update('c1', { kept: 'label' });
    const infos = await world.port.list();
    const mounts = [await world.port.mounts('old'), await world.port.mounts('old-view')];
    await restart(() => damage(world.root));
    expect(await world.port.list()).toEqual(infos);
    expect([await world.port.mounts('old'), await world.port.mounts('old-view')]).toEqual(mounts);
    await world.port.prepare('box', 'c3');
    expect(await readdir(join(world.root, 'snapshots', '6'))).toContain('rwlayer.img');
  });

  it('with an older database adopts what it does not know, also when parents have the greater ids', async () => {
    await world.snapshotter.close();
    await cp(join(world.root, 'metadata.db'), `${world.root}.older`, { recursive: true });
    await world.reopen();
    // Unpacked in parallel: the upper layer is prepared first and told its parent at Commit.
    await applyTo(world.snapshotter, await world.port.prepare('extract-upper'), digestOf('a'));
    await applyTo(world.snapshotter, await world.port.prepare('extract-lower'), digestOf('b'));
    await world.port.commit('lower', 'extract-lower', { parent: 'c3' });
    await world.port.commit('upper', 'extract-upper', { parent: 'lower' });
    await world.port.prepare('box', 'upper');
    const infos = await world.port.list();
    const mounts = await world.port.mounts('box');
    await restart(async () => {
      await rm(join(world.root, 'metadata.db'), { recursive: true });
      await rename(`${world.root}.older`, join(world.root, 'metadata.db'));
    });
    expect(await world.port.list()).toEqual(infos);
    expect(await world.port.mounts('box')).toEqual(mounts);
  });

  it('without the record of a parent keeps its children, quarantined, instead of building on nothing', async () => {
    await restart(async () => {
      await rm(join(world.root, 'metadata.db'), { recursive: true });
      await rm(snapshotFolder(world, 1), { recursive: true });
    });
    expect((await world.port.list()).map(({ name }) => name)).toEqual(['c2', 'c3', 'old', 'old-view']);
    await expect(world.port.prepare('box', 'c2')).rejects.toThrow(/parent "c1" is missing/);
    await world.reopen();
    await expect(world.port.view('look', 'c2')).rejects.toThrow(/parent "c1" is missing/);
  });

  it('sweeps what a crash left, and leaves alone what it did not make', async () => {
    const foreign = ['lost+found', '007', 'notes.txt', '88'];
    await restart(async () => {
      await mkdir(join(world.root, 'snapshots', 'lost+found'));
      await mkdir(join(world.root, 'snapshots', '007'));
      await writeFile(join(world.root, 'snapshots', 'notes.txt'), 'mine');
      await mkdir(snapshotFolder(world, 88));
      await writeFile(join(snapshotFolder(world, 88), 'precious'), 'mine');
      await mkdir(snapshotFolder(world, 89));
      await mkdir(join(snapshotFolder(world, 90), 'fs'), { recursive: true });
      await writeFile(join(snapshotFolder(world, 90), '.erofs-snapshotter-leveldb'), '');
      await writeFile(join(snapshotFolder(world, 90), '.erofslayer'), '');
      await writeFile(join(snapshotFolder(world, 3), '.tmp-0123-layer.erofs'), 'half');
      await writeFile(join(world.root, 'snapshots', '.tmp-0123-x'), 'half');
    });
    await world.port.cleanup();
    const left = await readdir(join(world.root, 'snapshots'));
    expect(left.sort()).toEqual(['1', '2', '3', '4', '5', ...foreign].sort());
    expect(await readFile(join(snapshotFolder(world, 88), 'precious'), 'utf8')).toBe('mine');
    await world.port.view('next', 'c1');
    expect(await readdir(join(world.root, 'snapshots'))).toContain('91');
  });

  it('finishes a removal whose folder lies in the trash, and never gives an id twice', async () => {
    await restart(() => rename(snapshotFolder(world, 5), join(world.root, 'trash', '5-0')));
    await expect(world.port.stat('old-view')).rejects.toMatchObject({ code: 'not-found' });
    await world.port.cleanup();
    await world.port.view('next', 'c1');
    expect((await readdir(join(world.root, 'snapshots'))).sort()).toEqual(['1', '2', '3', '4', '6']);
  });

  it.each(['its own path', 'a link'])('on %s unmounts and detaches what a Commit that was killed left', async (by) => {
    const image = join(snapshotFolder(world, 4), 'rwlayer.img');
    const mountPoint = join(snapshotFolder(world, 4), 'rw');
    const root = by === 'a link' ? `${world.root}-link` : world.root;
    await world.snapshotter.close();
    if (root !== world.root) await symlink(world.root, root);
    await mkdir(mountPoint);
    await run('mount', ['-o', 'loop,ro,norecovery', image, mountPoint], { deadlineMs: 10_000 });
    await run('losetup', ['--find', image], { deadlineMs: 10_000 });
    const snapshotter = await openSnapshotter(root);
    try {
      expect((await listMounts()).filter(({ target }) => target === mountPoint)).toEqual([]);
      // A search for a free device (losetup --find) by another process holds each one for a moment.
      await vi.waitFor(async () =>
        expect((await listLoopDevices()).filter((loop) => loop.image === image)).toEqual([]),
      );
      await portOf(snapshotter).commit('committed', 'old');
    } finally {
      await snapshotter.close();
    }
    await world.reopen();
  });

  it('detaches and unmounts what older releases left of layers, of the trash and of deleted files, and nothing that is used', async () => {
    const attach = async (image: string, ...more: string[]) => {
      const { stdout } = await run('losetup', ['--find', '--show', ...more, image], { deadlineMs: 10_000 });
      return stdout.trim();
    };
    const image = (id: number, name: string) => join(snapshotFolder(world, id), name);
    const guest = `${world.root}-guest`;
    await mkdir(guest);
    await world.snapshotter.close();
    const trashed = join(world.root, 'trash', '77-0');
    await mkdir(join(trashed, 'rw'), { recursive: true });
    await cp(image(4, 'rwlayer.img'), join(trashed, 'rwlayer.img'));
    await cp(image(4, 'rwlayer.img'), image(4, 'gone.img'));
    await run('mount', ['-o', 'loop,ro', join(trashed, 'rwlayer.img'), join(trashed, 'rw')], { deadlineMs: 10_000 });
    await run('mount', ['-o', 'loop,ro', image(2, 'layer.erofs'), guest], { deadlineMs: 10_000 });
    const ours = [
      await attach(image(1, 'layer.erofs'), '--read-only'),
      await attach(image(2, 'fsmeta.erofs'), '--read-only'),
      await attach(join(trashed, 'rwlayer.img')),
      await attach(image(4, 'gone.img')),
    ];
    await rm(image(4, 'gone.img'));
    const held = await attach(image(3, 'layer.erofs'), '--read-only');
    const user = await open(held, 'r');
    const attached = async () => (await listLoopDevices()).map(({ device }) => device);
    try {
      await world.reopen();
      await world.port.cleanup();
      expect((await attached()).filter((device) => ours.includes(device))).toEqual([]);
      expect(await readdir(join(world.root, 'trash'))).toEqual([]);
      const mounted = (await listMounts()).map(({ target }) => target);
      expect(mounted.filter((target) => target.startsWith(world.root))).toEqual([guest]);
      expect(await attached()).toContain(held);
    } finally {
      await user.close();
      await run('umount', [guest], { deadlineMs: 10_000 });
      await run('losetup', ['--detach', held], { deadlineMs: 10_000 });
    }
  });

  it('does not touch the files of a running container, nor does closing', async () => {
    const image = join(snapshotFolder(world, 4), 'rwlayer.img');
    await run('losetup', ['--find', '--show', join(snapshotFolder(world, 1), 'layer.erofs')], { deadlineMs: 10_000 });
    const before = await run('sha256sum', [image], { deadlineMs: 10_000 });
    await world.reopen();
    expect((await run('sha256sum', [image], { deadlineMs: 10_000 })).stdout).toBe(before.stdout);
    const loops = (await listLoopDevices()).filter((loop) => loop.image.startsWith(world.root));
    expect(loops).toHaveLength(1);
    await run('losetup', ['--detach', loops[0]!.device], { deadlineMs: 10_000 });
  });

  it('is refused while another process or snapshotter uses the root', async () => {
    await expect(openSnapshotter(world.root)).rejects.toMatchObject({ code: 'failed-precondition' });
  });
});

async function namesMatching(folder: string, pattern: RegExp): Promise<string[]> {
  return (await readdir(folder)).filter((name) => pattern.test(name)).map((name) => join(folder, name));
}

async function removeMatching(folder: string, pattern: RegExp): Promise<void> {
  for (const path of await namesMatching(folder, pattern)) await rm(path);
}

async function truncateMatching(folder: string, pattern: RegExp): Promise<void> {
  for (const path of await namesMatching(folder, pattern)) await truncate(path, 300);
}

async function overwriteAll(folder: string): Promise<void> {
  for (const path of await namesMatching(folder, /./)) await writeFile(path, Buffer.alloc(4096, 0x5a));
}
