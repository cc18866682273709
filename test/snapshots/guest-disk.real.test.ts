import { link, mkdir, open, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { listLoopDevices, listMounts, lockImage, run } from '../../src/host/index.js';
import { quiescedLabel } from '../../src/vocabulary.js';
import { treeOf } from '../conformance/chains.js';
import { Guest } from '../conformance/guest-mounts.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { requires } from '../harness/requires.js';
import { makeChain } from './crash-operations.js';

const deadlineMs = 10_000;
const refused = { code: 'failed-precondition' };

requires(
  'root',
  'loop',
  'erofs',
  'ext4',
  'overlay',
  'mkfs.erofs',
)('what a guest wrote, at Commit', () => {
  let world: InProcessWorld;
  let guest: Guest;
  let image: string;
  beforeEach(async () => {
    world = await makeInProcessWorld();
    guest = await Guest.open();
    await makeChain(world.snapshotter);
    image = (await world.port.mounts('old')).at(-1)!.source;
  });
  afterEach(async () => {
    expect((await listMounts()).filter(({ target }) => target.startsWith(world.root))).toEqual([]);
    await guest.close();
    // A search for a free device (losetup --find) by another process holds each one for a moment.
    await vi.waitFor(async () =>
      expect((await listLoopDevices()).filter((loop) => loop.image.startsWith(world.root))).toEqual([]),
    );
    await world.close();
  });

  /** Changes the ext4 by itself, as only a guest's root can. */
  async function inImage(change: (root: string) => Promise<unknown>): Promise<void> {
    const target = join(guest.folder, 'image');
    await mkdir(target);
    await run('mount', ['-o', 'loop', image, target], { deadlineMs });
    try {
      await change(target);
    } finally {
      await run('umount', [target], { deadlineMs });
    }
  }

  it.each([
    ['an absolute link to a folder of the host', (root: string) => symlink('/etc', join(root, 'upper'))],
    ['a link that climbs out', (root: string) => symlink('../../../../../../../../etc', join(root, 'upper'))],
    ['a link to a folder beside it', (root: string) => symlink('work', join(root, 'upper'))],
    ['a file', (root: string) => writeFile(join(root, 'upper'), '')],
    ['missing', () => Promise.resolve()],
  ])('an upper/ that is %s is refused, and nothing of the host gets into a layer', async (_what, replace) => {
    await inImage(async (root) => {
      await rm(join(root, 'upper'), { recursive: true });
      await replace(root);
    });
    await expect(world.port.commit('name', 'old')).rejects.toMatchObject(refused);
    await expect(world.port.commit('name', 'old', { labels: { [quiescedLabel]: 'true' } })).rejects.toMatchObject(
      refused,
    );
    expect((await world.port.stat('old')).kind).toBe('active');
    expect(await readdir(join(image, '..'))).not.toContain('layer.erofs');
  });

  it('links inside upper/ are kept as links, wherever they point', async () => {
    const mounts = await world.port.mounts('old');
    await guest.in(mounts, async (root) => {
      await symlink('/etc/passwd', join(root, 'absolute'));
      await symlink('../../../../etc', join(root, 'climbing'));
    });
    await world.port.commit('name', 'old');
    const tree = await treeOf(world, guest, 'name');
    expect(tree['/absolute']).toMatchObject({ type: 'symlink', content: '/etc/passwd' });
    expect(tree['/climbing']).toMatchObject({ type: 'symlink', content: '../../../../etc' });
  });

  it('a folder renamed with redirect_dir is refused, since its files lie in a layer below', async () => {
    const mounts = await world.port.mounts('old');
    await guest.in(mounts, (root) => rename(join(root, 'folder-1'), join(root, 'renamed')), ['redirect_dir=on']);
    await expect(world.port.commit('name', 'old')).rejects.toThrow(/trusted\.overlay\.redirect/);
    expect((await world.port.stat('old')).kind).toBe('active');
  });

  it('a file changed with metacopy is refused, since its data lie in a layer below', async () => {
    const mounts = await world.port.mounts('old');
    const chmod = (root: string) => run('chmod', ['600', join(root, 'file-1')], { deadlineMs });
    await guest.in(mounts, chmod, ['metacopy=on', 'redirect_dir=on']);
    await expect(world.port.commit('name', 'old')).rejects.toThrow(/trusted\.overlay\.metacopy/);
  });

  it('names that are not UTF-8 are kept', async () => {
    const name = Buffer.from([0x62, 0xff, 0xfe, 0x78]);
    await guest.in(await world.port.mounts('old'), async (root) => {
      const path = Buffer.concat([Buffer.from(`${root}/`), name]);
      await writeFile(path, 'content');
      await mkdir(Buffer.concat([path, Buffer.from('-dir')]));
    });
    await world.port.commit('name', 'old');
    const names = await guest.in(await world.port.view('look', 'name'), (root) =>
      readdir(root, { encoding: 'buffer' }),
    );
    expect(names.some((found) => found.equals(name))).toBe(true);
  });

  it('an image that a virtual machine holds is refused; the quiesced label reads it without the lock and without writing', async () => {
    await guest.in(await world.port.mounts('old'), (root) => writeFile(join(root, 'written'), 'x'));
    const lock = await lockImage(image);
    try {
      await expect(world.port.commit('name', 'old')).rejects.toThrow(/in use/);
      await link(image, `${world.root}.image`);
      const before = await run('sha256sum', [`${world.root}.image`], { deadlineMs });
      await world.port.commit('name', 'old', { labels: { [quiescedLabel]: 'true' } });
      expect((await run('sha256sum', [`${world.root}.image`], { deadlineMs })).stdout).toBe(before.stdout);
    } finally {
      await lock.release();
    }
    expect(await treeOf(world, guest, 'name')).toHaveProperty('/written');
  });

  it('a journal that the guest did not finish is replayed: what it had synced is in the layer', async () => {
    // A copy of the image while it is mounted is what a guest that lost power leaves.
    const copy = `${world.root}.torn`;
    await guest.in(await world.port.mounts('old'), async (root) => {
      await writeFile(join(root, 'synced'), 'safe');
      const file = await open(join(root, 'synced'), 'r+');
      await file.sync();
      await file.close();
      await run('cp', ['--sparse=always', image, copy], { deadlineMs });
    });
    await run('cp', ['--sparse=always', copy, image], { deadlineMs });
    await world.port.commit('name', 'old');
    expect(await treeOf(world, guest, 'name')).toHaveProperty('/synced');
  });

  it('an image that is no ext4 is a clear error that names it, and leaves nothing mounted', async () => {
    await run('dd', ['if=/dev/urandom', `of=${image}`, 'bs=64k', 'count=4', 'conv=notrunc'], { deadlineMs });
    await expect(world.port.commit('name', 'old')).rejects.toThrow(/is damaged: it is no ext4/);
    expect((await world.port.stat('old')).kind).toBe('active');
  });

  // With the capability `rebase` containerd names the parent only at Commit, and whiteouts are lost just the same.
  it.each([
    ['at Prepare', 'c1', {}],
    ['only at Commit', '', { parent: 'c1' }],
  ])(
    'what another differ unpacked for a parent named %s is refused, with the setting to change',
    async (_, parent, o) => {
      const [bind] = await world.port.prepare('extract-a', parent);
      await writeFile(join(bind!.source, 'unpacked'), 'by another differ');
      const error = await world.port.commit('name', 'extract-a', o).catch((cause: unknown) => cause);
      expect(error).toMatchObject({ ...refused, facts: { parent: 'c1' } });
      expect((error as { next: string }).next).toContain('diff-service');
      expect(await world.port.list('name==name')).toEqual([]);
    },
  );
});
