import { truncate } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { inOrder } from '../conformance/chains.js';
import * as change from '../conformance/changes.js';
import { requires } from '../harness/requires.js';
import { makeCompareWorld, type CompareWorld } from './compare-world.js';

const below = inOrder(
  change.folder('merged'),
  change.file('merged/below', 'below'),
  change.folder('untouched'),
  change.file('untouched/below', 'below'),
  change.folder('remade'),
  change.file('remade/below', 'below'),
);

/** What programs in a container may write as they like, whatever it means to an overlay. */
const pretending = inOrder(
  change.xattr('', 'user.overlay.opaque', 'y'),
  change.xattr('merged', 'user.overlay.opaque', 'y'),
  change.file('merged/added', 'added'),
  change.xattr('merged/added', 'user.overlay.metacopy', ''),
  change.xattr('merged/added', 'user.overlay.redirect', '/untouched/below'),
  change.folder('new'),
  change.xattr('new', 'user.overlay.opaque', 'y'),
  change.xattr('new', 'user.overlay.origin', 'anything'),
  change.gone('remade'),
  change.folder('remade'),
  change.file('remade/added', 'added'),
  change.xattr('remade', 'user.mine', 'mine'),
);

const overlays = [
  ['an ordinary overlay', ['redirect_dir=off', 'metacopy=off', 'index=off']],
  ['an overlay mounted with userxattr', ['userxattr']],
] as const;

describe.each(['kernel', 'isolated'] as const)('with guest_disks = %s', (guestDisks) => {
  requires(
    'root',
    'loop',
    'erofs',
    'ext4',
    'overlay',
    'mkfs.erofs',
  )('notes of overlay, and attributes of users that are called like them, in the upper of', () => {
    let world: CompareWorld;
    beforeAll(async () => {
      world = await makeCompareWorld({ guestDisks });
      await world.layer('lowest', '', change.folder('other'));
      await world.layer('base', 'lowest', below);
    });
    afterAll(() => world.close());

    it.each(overlays)('%s: Commit gives what the guest saw', async (what, overlay) => {
      const { tree } = await world.active(what, 'base', pretending, [...overlay]);
      expect(Object.keys(tree)).toEqual(expect.arrayContaining(['/merged/below', '/untouched/below', '/remade/added']));
      expect(tree['/remade/below']).toBeUndefined();
      await world.world.port.commit(`${what}, committed`, what);
      expect(await world.tree(`${what}, committed`)).toEqual(tree);
    });

    it.each(overlays)('%s: Diff and Apply give what the guest saw, by either route', async (what, overlay) => {
      const { mounts, tree } = await world.active(`${what}, compared`, 'base', pretending, [...overlay]);
      const left = await world.view('base');
      expect((await world.applied(await world.compare(left, mounts), 'base')).tree).toEqual(tree);
      const lowest = await world.view('lowest');
      expect((await world.applied(await world.compare(lowest, mounts), 'lowest')).tree).toEqual(tree);
      expect(world.routes.slice(-2)).toEqual(['upper', 'trees']);
    });

    it('a committed layer says the same to Diff as the upper that it was made from', async () => {
      await world.active('again', 'base', pretending);
      await world.world.port.commit('again, committed', 'again');
      const descriptor = await world.compare(await world.view('base'), await world.view('again, committed'));
      expect((await world.applied(descriptor, 'base')).tree).toEqual(await world.tree('again, committed'));
    });

    it('a sparse file that reads as terabytes fails its own Commit and Diff alone, and says which file it is', async () => {
      const huge = inOrder(change.file('huge', 'start'), (root) => truncate(join(root, 'huge'), 2 ** 42));
      const mounts = await world.world.port.prepare('huge', 'base');
      await world.guest.in(mounts, huge);
      const refused = {
        code: 'resource-exhausted',
        message: expect.stringMatching(/huge" is too large: files read as 43980465\d+ bytes and hold \d+,/) as unknown,
      };
      const left = await world.view('base');
      const [committing, comparing, neighbour] = await Promise.allSettled([
        world.world.port.commit('huge, committed', 'huge'),
        world.compare(left, mounts),
        world.layer('neighbour', 'base', change.file('small')),
      ]);
      expect(committing).toMatchObject({ status: 'rejected', reason: refused });
      expect(comparing).toMatchObject({ status: 'rejected', reason: refused });
      expect(neighbour.status).toBe('fulfilled');
      await world.guest.in(mounts, change.sparseFile('huge', 2 ** 20));
      await world.world.port.commit('huge, committed', 'huge');
    });
  });
});
