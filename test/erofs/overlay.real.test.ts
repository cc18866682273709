import { mkdir, mkdtemp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PrivateMounts } from '../../src/host/index.js';
import { snapshotOf, type Tree } from '../conformance/tree.js';
import { requires } from '../harness/requires.js';
import { randomOf, runSeed, times, type Random } from '../harness/share.js';
import { temporaryFolder } from '../host/temporary.js';
import { directory, file, inOrder, makeLayer, mergeInto, type Entry } from './images.js';

interface Views {
  readonly merged: Tree;
  readonly overlay: Tree;
  readonly inlays: readonly number[];
}

/** What a program sees in the merged image of these layers, and in the kernel's overlay of the same layers. */
async function viewsOf(parent: string, layers: readonly (readonly Entry[])[]): Promise<Views> {
  const folder = await mkdtemp(join(parent, 'chain-'));
  const output = join(folder, 'fsmeta.erofs');
  const images: string[] = [];
  for (const [index, entries] of layers.entries()) images.push(await makeLayer(folder, `layer-${index}`, entries));
  const { devices, plan } = await mergeInto(output, inOrder(...images));
  const mounts = await PrivateMounts.open(folder);
  try {
    const at = async (name: string): Promise<string> => {
      await mkdir(join(folder, name));
      return join(folder, name);
    };
    const view = { image: output, devices, target: await at('merged'), type: 'erofs' } as const;
    const merged = await snapshotOf(await mounts.mountReadOnly(view));
    const lowers: string[] = [];
    for (const [index, image] of images.entries()) {
      const target = await at(`lower-${index}`);
      await mounts.mountReadOnly({ image, devices: [], target, type: 'erofs' });
      lowers.unshift(target);
    }
    const options = [`lowerdir=${lowers.join(':')}`, 'xino=on'];
    const stack = { source: 'overlay', target: await at('overlay'), type: 'overlay', options } as const;
    return { merged, overlay: await snapshotOf(await mounts.mountReadOnly(stack)), inlays: plan.inlays };
  } finally {
    await mounts.close();
    await rm(folder, { recursive: true });
  }
}

const names = ['a', 'b', 'c', 'd'];

/** A layer that describes all its folders, with few names, so that layers meet. */
function chanceLayer(random: Random): Entry[] {
  const entries: Entry[] = [];
  const xattrs = () =>
    Object.fromEntries(
      random
        .some(['user.note', 'trusted.note', 'user.overlay.opaque', 'security.note'], random.oneIn(3) ? 2 : 0)
        .map((name) => [`SCHILY.xattr.${name}`, random.pick(['y', 'n', 'a longer value'])]),
    );
  const attributes = () => ({
    mode: random.pick([0o755, 0o700, 0o1777, 0o2750]),
    uid: random.int(0, 2) * 40_000,
    gid: random.int(0, 2) * 40_000,
    mtime: new Date(random.int(1, 9) * 1000),
    pax: xattrs(),
  });
  const files: string[] = [];
  const fill = (parent: string, depth: number) => {
    for (const name of random.some(names, random.int(1, 3))) {
      const path = `${parent}${name}`;
      const kind = random.int(1, 12);
      if (kind <= 5 && depth < 4) {
        entries.push(directory(`${path}/`, attributes()));
        if (random.oneIn(6)) entries.push(file(`${path}/.wh..wh..opq`, ''));
        if (!random.oneIn(6)) fill(`${path}/`, depth + 1);
      } else if (kind <= 8) {
        entries.push(file(path, `${random.int(0, 9)}`.repeat(random.int(0, 5000)), { ...attributes(), mode: 0o644 }));
        files.push(path);
      } else if (kind === 9 && files.length > 0) {
        entries.push({ ...attributes(), name: path, type: 'link', linkname: random.pick(files) });
      } else if (kind === 10) {
        const type = random.pick(['symlink', 'fifo', 'character-device'] as const);
        const linkname = type === 'symlink' ? { linkname: 'a/b' } : {};
        entries.push({ ...attributes(), mode: 0o777, name: path, type, ...linkname, devmajor: 1, devminor: 3 });
      } else {
        entries.push(file(`${parent}.wh.${name}`, ''));
      }
    }
  };
  entries.push(directory('./', attributes()));
  fill('', 1);
  return entries;
}

requires(
  'root',
  'loop',
  'erofs',
  'overlay',
  'mkfs.erofs',
)("a merged image shows what the kernel's overlay of its layers shows", () => {
  const old = [directory('./'), directory('opt/'), directory('opt/app/'), file('opt/app/secret', 'old')];
  const anew = [directory('./'), directory('opt/'), directory('opt/app/'), file('opt/app/new', 'new')];
  const between: readonly [string, Partial<Entry>][] = [
    ['a file', { content: 'x' }],
    ['a symlink', { type: 'symlink', linkname: '/etc' }],
    ['a device', { type: 'character-device', devmajor: 1, devminor: 3 }],
    ['a fifo', { type: 'fifo' }],
    ['a hard link', { type: 'link', linkname: 'other' }],
  ];

  it.each(between)('where %s lies between folders of one name', async (_what, entry) => {
    const middle = [directory('./'), file('other', 'o'), directory('opt/'), { ...entry, name: 'opt/app' } as Entry];
    const { merged, overlay, inlays } = await viewsOf(await temporaryFolder(), [old, middle, anew]);
    expect(merged).toEqual(overlay);
    expect(Object.keys(merged).filter((path) => path.startsWith('/opt/app/'))).toEqual(['/opt/app/new']);
    expect(inlays).toEqual([2]);
  });

  it('where several such names lie at several depths, in gaps of their own', async () => {
    const long = 'n'.repeat(255);
    const folders = (...paths: string[]) => [directory('./'), ...paths.map((path) => directory(`${path}/`))];
    const all = ['a', 'a/b', 'a/b/c', 'x', `x/${long}`, 'wört', 'low'];
    const marked = (layer: string) => [...folders(...all), ...all.map((path) => file(`${path}/of-${layer}`, layer))];
    const { merged, overlay, inlays } = await viewsOf(await temporaryFolder(), [
      marked('1'),
      [...folders('a', 'a/b', 'x'), file('a/b/c', 'x'), file(`x/${long}`, 'x'), file('low', 'x')],
      [...folders(...all), file('a/b/c/of-3', '3')],
      [...folders('a'), file('a/b', 'x'), file('wört', 'x')],
      marked('5'),
      [...folders('a'), file('x', 'x')],
      marked('7'),
    ]);
    expect(merged).toEqual(overlay);
    expect(inlays).toEqual([2, 4, 6]);
  });

  it('where a whiteout or an opaque folder hides the rest already, without an inlay', async () => {
    const middle = [directory('./'), directory('opt/'), file('opt/app', 'x')];
    for (const hiding of [
      [[directory('./'), directory('opt/'), file('opt/.wh.app', '')], anew],
      [[...anew, file('opt/app/.wh..wh..opq', '')]],
    ]) {
      const { merged, overlay, inlays } = await viewsOf(await temporaryFolder(), [old, middle, ...hiding]);
      expect(merged).toEqual(overlay);
      expect(inlays).toEqual([]);
    }
  });

  it('with the xattrs of the root, whatever layer it comes from, also where they take more than a block', async () => {
    const pax = { 'SCHILY.xattr.user.large': 'v'.repeat(6000), 'SCHILY.xattr.trusted.note': 'kept' };
    const root = directory('./', { uid: 7, pax });
    const { merged, overlay } = await viewsOf(await temporaryFolder(), [[directory('./'), file('a', 'a')], [root]]);
    expect(merged).toEqual(overlay);
    expect(Object.keys(merged['/']?.xattrs ?? {})).toEqual(['trusted.note', 'user.large']);
    // A layer whose tar says nothing of its root changes nothing.
    const silent = await viewsOf(await temporaryFolder(), [[root], [file('b', 'b')]]);
    expect(silent.merged['/']).toEqual(merged['/']);
  });

  it('with the xattrs of a folder that a newer layer only implies', async () => {
    const pax = { 'SCHILY.xattr.user.note': 'kept' };
    const described = [
      directory('./', { uid: 3 }),
      directory('a/', { uid: 4, pax }),
      directory('a/b/', { uid: 5, pax }),
    ];
    const { merged, inlays } = await viewsOf(await temporaryFolder(), [described, [file('a/b/c', 'c')]]);
    const alone = (await viewsOf(await temporaryFolder(), [described, described])).overlay;
    for (const path of ['/', '/a', '/a/b']) expect(merged[path]).toEqual(alone[path]);
    expect(merged['/a/b/c']).toBeDefined();
    expect(inlays).toEqual([2]);
  });

  it('for chains by chance', { timeout: 3_600_000 }, async () => {
    const folder = await temporaryFolder();
    const first = runSeed();
    let withInlays = 0;
    for (let number = 0; number < times(40, 2000); number += 1) {
      const random = randomOf((first + number) % 2 ** 31);
      const layers = Array.from({ length: random.int(2, 5) }, () => chanceLayer(random));
      const { merged, overlay, inlays } = await viewsOf(folder, layers);
      expect(merged, `TEST_SEED=${first}, chain ${number}`).toEqual(overlay);
      if (inlays.length > 0) withInlays += 1;
    }
    expect(withInlays).toBeGreaterThan(0);
  });
});
