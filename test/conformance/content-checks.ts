import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { errnoOf } from '../../src/errors.js';
import { listXattrs } from '../../src/host/index.js';
import { expectChain, inOrder, treeOf, type Change } from './chains.js';
import * as step from './changes.js';
import { netRawCapability } from './changes.js';
import type { Guest } from './guest-mounts.js';
import { snapshotOf } from './tree.js';
import type { World } from './world.js';

const { device, fifo, file, folder, gone, hardLink, mode, moved, owner, sparseFile, symbolicLink, time, xattr } = step;

interface Chain {
  readonly title: string;
  readonly changes: readonly Change[];
}

const chains: readonly Chain[] = [
  {
    title: 'a file is added, one is overwritten, a folder is removed',
    changes: [
      inOrder(file('foo', 'foo\n', 0o777), folder('a'), folder('a/b'), folder('a/b/c')),
      inOrder(file('bar', 'bar\n', 0o777), file('foo', 'bar\n', 0o777), gone('a/b')),
    ],
  },
  {
    title: 'files of a folder are updated in content and in mode',
    changes: [
      inOrder(folder('etc', 0o700), file('etc/hosts', 'mydomain 10.0.0.1'), file('etc/profile', 'PATH=/usr/bin')),
      inOrder(file('etc/hosts', 'mydomain 10.0.0.2'), mode('etc/profile', 0o666), folder('root', 0o700)),
      inOrder(file('root/.bashrc', 'PATH=/usr/sbin:/usr/bin'), mode('etc', 0o1777)),
    ],
  },
  {
    title: 'a folder that was removed and made again hides what it held, in every later layer',
    changes: [
      inOrder(folder('lib', 0o700), file('lib/hidden', ''), folder('lib/deep'), file('lib/deep/hidden')),
      inOrder(gone('lib'), folder('lib', 0o700), file('lib/not-hidden', '')),
      file('lib/newfile', ''),
      inOrder(gone('lib'), folder('lib', 0o755), folder('lib/deep'), file('lib/deep/new')),
    ],
  },
  {
    title: 'an owner that is changed stays changed, on folders and files, also beyond 16 bits',
    changes: [
      inOrder(
        folder('opt', 0o700),
        folder('opt/a', 0o700),
        folder('opt/a/b', 0o700),
        file('opt/a/b/file.txt', 'hello'),
      ),
      inOrder(owner('opt', 1, 1), owner('opt/a', 1, 1), owner('opt/a/b', 1, 1), owner('opt/a/b/file.txt', 1, 1)),
      inOrder(owner('opt/a', 70_000, 3_000_000), owner('opt/a/b/file.txt', 4_294_967_294, 65_536)),
    ],
  },
  {
    title: 'folders keep mode and owner when they are changed, removed or made again',
    changes: [
      inOrder(
        ...['dir1', 'dir2', 'dir3', 'dir4', 'dir5'].map((name) => folder(name, 0o700)),
        ...['dir4/f1', 'dir5/f1'].map((name) => file(name, '...')),
        ...['dir1', 'dir2', 'dir3', 'dir5', 'dir5/f1'].map((name) => owner(name, 1, 1)),
      ),
      inOrder(owner('dir2', 0, 0), gone('dir3'), owner('dir4', 1, 1), owner('dir4/f1', 1, 1)),
      inOrder(folder('dir3', 0o700), owner('dir3', 1, 1), gone('dir5'), folder('dir5', 0o700), owner('dir5', 1, 1)),
    ],
  },
  {
    title: 'a removed file stays away in layers above, also when the layer between changes nothing',
    changes: [
      inOrder(file('foo', 'foo\n', 0o777), file('foobar', 'foobar\n', 0o777)),
      gone('foobar'),
      inOrder(),
      file('foobar', 'again\n'),
      gone('foobar'),
    ],
  },
  {
    title: 'files move between folders, by copy and by hard link',
    changes: [
      inOrder(folder('dir1', 0o700), file('dir1/f1', 'Hello'), folder('dir2', 0o700), file('dir2/f2', '...')),
      inOrder(
        inOrder(folder('dir3', 0o700), file('dir3/f1', 'Hello'), gone('dir1')),
        inOrder(hardLink('dir2/f2', 'dir3/f2'), gone('dir2/f2')),
      ),
    ],
  },
  {
    title: 'a rename over a file of the layer below, and away from its name',
    changes: [
      inOrder(folder('some'), file('some/f1', 'was here first!'), file('some/f2', 'nothing interesting')),
      inOrder(file('some/f1-new', 'new content 1'), moved('some/f1-new', 'some/f1'), moved('some/f2', 'some/f3')),
      inOrder(folder('new'), file('new/inside'), moved('new', 'renamed'), moved('some/f3', 'renamed/f3')),
    ],
  },
  {
    title: 'a name changes its type: file, folder, link and back',
    changes: [
      inOrder(file('file'), folder('folder'), file('folder/inside'), symbolicLink('file', 'link')),
      inOrder(gone('file'), folder('file'), file('file/inside'), gone('folder'), file('folder')),
      inOrder(gone('link'), folder('link'), file('link/inside'), gone('file'), symbolicLink('folder', 'file')),
      inOrder(gone('link'), fifo('link'), gone('folder'), folder('folder')),
    ],
  },
  {
    title: 'hard links stay one file, within a layer and after a layer above changed one name of them',
    changes: [
      inOrder(
        folder('a'),
        folder('b'),
        file('a/one', 'shared'),
        hardLink('a/one', 'a/two'),
        hardLink('a/one', 'b/three'),
      ),
      inOrder(file('other', 'alone'), hardLink('other', 'b/other')),
      inOrder(file('a/two', 'copied up'), gone('b/other')),
    ],
  },
  {
    title: 'every type of entry: links of all kinds, fifo, devices, socket, empty and sparse files',
    changes: [
      inOrder(
        inOrder(symbolicLink('/absolute/path', 'absolute'), symbolicLink('../..', 'relative')),
        inOrder(symbolicLink('x'.repeat(4000), 'long-target'), symbolicLink('missing', 'dangling')),
        inOrder(fifo('fifo'), device('null', 'c', 1, 3), device('disk', 'b', 259, 1_048_575), step.socket('socket')),
        inOrder(file('empty', ''), sparseFile('sparse', 9_000_000), file('binary', Buffer.alloc(70_001, 0xa5))),
      ),
      inOrder(gone('fifo'), gone('null'), device('null', 'c', 1, 5), owner('socket', 7, 8)),
    ],
  },
  {
    title: 'setuid, setgid, sticky, no permission at all, and times before 1970 and after 2038',
    changes: [
      inOrder(
        inOrder(file('su', 'x', 0o4755), file('sg', 'x', 0o2755), folder('tmp', 0o1777), folder('group', 0o2775)),
        inOrder(
          file('closed', 'x', 0),
          file('old', 'x'),
          time('old', -86_400.5),
          file('late', 'x'),
          time('late', 2 ** 32),
        ),
      ),
      inOrder(mode('su', 0o755), mode('tmp', 0o755), file('group/inherits')),
    ],
  },
  {
    title: 'extended attributes and file capabilities are kept, replaced and removed',
    changes: [
      inOrder(
        inOrder(file('ping', 'x', 0o755), xattr('ping', 'security.capability', netRawCapability)),
        inOrder(folder('dir'), xattr('dir', 'user.note', 'on a folder'), xattr('dir', 'trusted.note', 'root only')),
        inOrder(file('plain'), xattr('plain', 'user.big', Buffer.alloc(3000, 1)), xattr('plain', 'user.zero', '')),
      ),
      inOrder(xattr('plain', 'user.big', 'small now'), step.noXattr('plain', 'user.zero'), mode('dir', 0o700)),
      inOrder(step.noXattr('ping', 'security.capability'), xattr('dir', 'user.note', 'changed')),
    ],
  },
  {
    title: 'names that are long, not ASCII, or look like whiteouts of a layer tar',
    changes: [
      inOrder(
        inOrder(folder('grüße'), file('grüße/naïve 文件'), file('x'.repeat(255)), file(' spaces and\nnewline')),
        inOrder(file('-dash'), file('back\\slash'), file('quote"s'), file('.hidden')),
      ),
      inOrder(gone('grüße/naïve 文件'), file('grüße/ok'), gone('x'.repeat(255))),
    ],
  },
  {
    title: 'a folder with six hundred entries, half of which go in the next layer',
    changes: [
      inOrder(folder('many'), ...Array.from({ length: 600 }, (_, index) => file(`many/${index}`, ''))),
      inOrder(...Array.from({ length: 300 }, (_, index) => gone(`many/${index * 2}`))),
    ],
  },
  {
    title: 'the mode, owner and time of the root',
    changes: [
      inOrder(file('a'), mode('.', 0o711)),
      inOrder(owner('.', 12, 34), time('.', 1_234_567_890)),
      file('b'),
      inOrder(mode('.', 0o1777), time('.', 1_300_000_000)),
    ],
  },
];

/** Trees: what a guest sees is what the kernel's overlay makes of the same changes. */
export function checkContent(world: () => World, guest: () => Guest, depth: number): void {
  it.each(chains)('$title', async ({ changes }) => {
    await expectChain(world(), guest(), changes);
  });

  it('a View cannot be written to: empty, of one layer, of a chain', async () => {
    const { port } = world();
    const { names } = await expectChain(world(), guest(), [file('a'), file('b')]);
    for (const parent of ['', ...names]) {
      const mounts = await port.view('view', parent);
      const error = await guest().in(mounts, (root) =>
        writeFile(join(root, 'new'), '').catch((cause: unknown) => cause),
      );
      expect(errnoOf(error)).toBe('EROFS');
      await port.remove('view');
    }
  });

  it('the root of a container without a parent is 0755 root:root', async () => {
    const tree = await guest().in(await world().port.prepare('key'), snapshotOf);
    expect(Object.keys(tree)).toEqual(['/']);
    expect(tree['/']).toMatchObject({ mode: '755', owner: '0:0' });
  });

  it('what a container writes is there when its mounts are asked for again, and after a restart', async () => {
    await world().port.prepare('key');
    await guest().in(await world().port.mounts('key'), (root) => file('kept', 'kept')(root));
    await world().reopen();
    const content = await guest().in(await world().port.mounts('key'), (root) => readFile(join(root, 'kept'), 'utf8'));
    expect(content).toBe('kept');
  });

  it(
    `a chain of ${depth} layers, each of which overwrites, adds, and makes a folder opaque`,
    { timeout: 300_000 },
    async () => {
      const bottom = inOrder(
        inOrder(file('bottom', 'way at the bottom\n', 0o777), file('overwriteme', 'FIRST!\n', 0o777)),
        inOrder(folder('addhere'), folder('onlyme'), file('onlyme/bottom', 'bye!\n', 0o777)),
      );
      const above = Array.from({ length: depth - 1 }, (_, index) =>
        inOrder(
          inOrder(file('overwriteme', `${index + 1} WAS HERE!\n`, 0o777), file(`addhere/file-${index + 1}`, 'same\n')),
          inOrder(gone('onlyme'), folder('onlyme'), file(`onlyme/file-${index + 1}`, 'only me!\n', 0o777)),
        ),
      );
      const { tree } = await expectChain(world(), guest(), [bottom, ...above], {
        compare: (layer) => layer % 16 === 1 || layer === depth,
      });
      expect(Object.keys(tree).filter((path) => path.startsWith('/onlyme/'))).toEqual([`/onlyme/file-${depth - 1}`]);
    },
  );

  it('a merged View, which a guest may mount by itself, shows no whiteout and no opaque mark', async () => {
    const { names } = await expectChain(world(), guest(), [
      inOrder(folder('a'), file('a/x'), file('y')),
      inOrder(gone('a'), folder('a'), gone('y'), file('z')),
      file('z', 'changed'),
    ]);
    const mounts = await world().port.view('view', names.at(-1));
    await guest().in(mounts, async (root) => {
      const paths = Object.keys(await snapshotOf(root));
      expect(paths).toEqual(['/', '/a', '/z']);
      const notes = paths.flatMap((path) => listXattrs(join(root, path))).filter((name) => name.includes('overlay'));
      // Where a file was copied up from: of no consequence below another overlay.
      expect(notes.filter((name) => name !== 'trusted.overlay.origin')).toEqual([]);
    });
  });

  it('known difference: hard links to symlinks, devices and fifos become files of their own in a merged image', async () => {
    const { port } = world();
    const make = inOrder(
      inOrder(symbolicLink('target', 'link'), hardLink('link', 'link-2')),
      inOrder(fifo('fifo'), hardLink('fifo', 'fifo-2'), file('file'), hardLink('file', 'file-2')),
    );
    await guest().in(await port.prepare('key-1'), make);
    await port.commit('one', 'key-1');
    await guest().in(await port.prepare('key-2', 'one'), file('more'));
    await port.commit('two', 'key-2');
    const single = await treeOf(world(), guest(), 'one');
    const merged = await treeOf(world(), guest(), 'two');
    expect(single['/link']?.links).toEqual(['/link', '/link-2']);
    expect(merged['/link']?.links).toEqual([]);
    expect(merged['/link-2']).toMatchObject({ type: 'symlink', content: 'target' });
    expect(merged['/fifo']?.links).toEqual([]);
    expect(merged['/file']?.links).toEqual(['/file', '/file-2']);
  });
}
