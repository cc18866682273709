import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import { convertTarArguments } from '../../src/erofs/args.js';
import { readRoot } from '../../src/erofs/root.js';
import { chainRootAttributes, layerUuid } from '../../src/erofs/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import {
  digestOf,
  directory,
  file,
  flatten,
  inOrder,
  makeLayer,
  mergeInto,
  mounted,
  writeTar,
  type Entry,
} from './images.js';
import { applyLayers, randomLayer, randomNumbers, type Tree } from './layer-model.js';

const run = (tool: string, ...args: string[]) =>
  execFileSync(tool, args, { encoding: 'utf8', stdio: 'pipe', maxBuffer: 2 ** 26 });

let folder: string;
let output: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  output = join(folder, 'fsmeta.erofs');
});

const makeLayers = (layers: readonly (readonly Entry[])[]) =>
  Promise.all(layers.map((entries, index) => makeLayer(folder, `layer-${index}`, entries)));

/** Merges the layers and gives the trees of the image mounted with its devices, and of the flattened disk. */
async function mergedTrees(...layers: (readonly Entry[])[]): Promise<Tree[]> {
  const images = await makeLayers(layers);
  const { devices } = await mergeInto(output, inOrder(...images));
  run('fsck.erofs', ...devices.map((device) => `--device=${device}`), output);
  return [
    treeOf(await mounted(folder, output, devices)),
    treeOf(await mounted(folder, await flatten(folder, output, devices))),
  ];
}

function treeOf(root: string): Tree {
  const lines = run('find', root, '-printf', '%y %m %U %T@ %P\\0').split('\0').slice(0, -1);
  const nodes = lines.map((line) => {
    const [, kind, mode = '', uid, mtime, path = ''] = /^(\S+) (\S+) (\S+) (\S+) (.*)$/s.exec(line) ?? [];
    const node = { kind: kind as 'd' | 'f', mode: parseInt(mode, 8), uid: Number(uid), mtime: Number(mtime) };
    return [path, node] as const;
  });
  return new Map(nodes);
}

const sorted = (tree: Tree) => [...tree].sort(([a], [b]) => (a < b ? -1 : 1));

/** What the layers give must be what the rules of OCI layers say; that is answered too. */
async function asTheRulesSay(...layers: (readonly Entry[])[]): Promise<Tree> {
  const expected = applyLayers(layers);
  for (const tree of await mergedTrees(...layers)) expect(sorted(tree)).toEqual(sorted(expected));
  return expected;
}

const sticky = directory('tmp/', { mode: 0o1777 });
const undescribed = { kind: 'd', mode: 0o755, uid: 0, mtime: 0 };

requires(
  'root',
  'loop',
  'erofs',
  'mkfs.erofs',
)('a directory that a layer only implies', () => {
  it('keeps in a merged image what the older layer says of it, however deep', async () => {
    const tree = await asTheRulesSay(
      [
        directory('./', { mode: 0o711, uid: 3 }),
        sticky,
        directory('a/', { uid: 7 }),
        directory('a/b/', { mode: 0o700 }),
      ],
      [file('tmp/x', 'x'), file('a/b/c/d', 'y')],
      [file('a/b/c/e', 'z')],
    );
    expect(tree.get('tmp')?.mode).toBe(0o1777);
    expect(tree.get('a/b')?.mode).toBe(0o700);
    expect(tree.get('a/b/c')).toEqual(undescribed);
    expect(tree.get('')?.uid).toBe(3);
  });

  it('is as the newest layer says that describes it', async () => {
    const tree = await asTheRulesSay(
      [sticky, file('tmp/a', 'a')],
      [directory('tmp/', { mode: 0o750 }), file('tmp/b', 'b')],
      [file('tmp/c', 'c')],
    );
    expect(tree.get('tmp')?.mode).toBe(0o750);
  });

  it.each<[string, Entry[]]>([
    ['removed', [file('.wh.tmp', '')]],
    ['replaced by a file', [file('tmp', 'a file')]],
    ['removed with its parent', [file('.wh.var', '')]],
    ['hidden by an opaque parent', [directory('var/'), file('var/.wh..wh..opq', '')]],
    ['hidden by an implied opaque parent', [file('var/.wh..wh..opq', '')]],
  ])('inherits nothing from below a layer in which it is %s', async (_, between) => {
    const tree = await asTheRulesSay(
      [sticky, directory('var/'), directory('var/tmp/', { mode: 0o1777 }), file('var/tmp/a', 'a')],
      between,
      [file('tmp/x', 'x'), file('var/tmp/x', 'x')],
    );
    const hidden = between.some(({ name }) => name.includes('var')) ? 'var/tmp' : 'tmp';
    expect(tree.get(hidden)).toEqual(undescribed);
  });

  it('and makes opaque loses what was in it, not what it was', async () => {
    const tree = await asTheRulesSay([sticky, file('tmp/a', 'a')], [file('tmp/.wh..wh..opq', ''), file('tmp/b', 'b')]);
    expect(tree.get('tmp')?.mode).toBe(0o1777);
    expect(tree.has('tmp/a')).toBe(false);
  });

  it('is 0755 root:root in the image of the layer alone, and is not writable for all', async () => {
    const [image = ''] = await makeLayers([[file('tmp/x', 'x')]]);
    const tree = treeOf(await mounted(folder, image));
    expect(tree.get('tmp')).toMatchObject({ kind: 'd', mode: 0o755, uid: 0 });
    expect(tree.get('')).toEqual(undescribed);
  });

  it('is found among thousands, with names of any bytes, that older layers describe', async () => {
    const numbers = Array.from({ length: 1500 }, (_, index) => index);
    const name = (index: number) => `many/${index % 7 === 0 ? 'é\n' : 'n'.repeat(index % 120)}${index}`;
    await asTheRulesSay(
      numbers.map((index) => directory(`${name(index)}/`, { mode: 0o700 + (index % 64) })),
      numbers.filter((index) => index % 3 === 0).map((index) => file(`${name(index)}/file`, 'x')),
    );
  });

  it.each(Array.from({ length: 16 }, (_, seed) => seed))('is as the rules say in random layers (%d)', async (seed) => {
    const random = randomNumbers(seed);
    await asTheRulesSay(...Array.from({ length: 2 + (seed % 5) }, () => randomLayer(random)));
  });

  it('gives the same bytes each time', async () => {
    const images = await makeLayers([[sticky], [file('tmp/x', 'x')]]);
    const again = [...images.map((image) => readFileSync(image))];
    await makeLayers([[sticky], [file('tmp/x', 'x')]]);
    expect(images.map((image, index) => readFileSync(image).equals(again[index]!))).toEqual([true, true]);
    await mergeInto(output, inOrder(...images));
    const first = readFileSync(output);
    await mergeInto(output, inOrder(...images));
    expect(readFileSync(output).equals(first)).toBe(true);
  });
});

requires(
  'root',
  'loop',
  'erofs',
  'mkfs.erofs',
)('a directory that a layer describes', () => {
  const open = { mode: 0o777, mtime: new Date(0) };

  it('as mkfs.erofs makes implied ones, 0777 root:root at time 0, stays so, the root too', async () => {
    const layer = [directory('./', open), directory('said/', open), file('implied/x', 'x')];
    const [image = ''] = await makeLayers([layer]);
    const tree = treeOf(await mounted(folder, image));
    expect([tree.get('')?.mode, tree.get('said')?.mode, tree.get('implied')?.mode]).toEqual([0o777, 0o777, 0o755]);
    const merged = await asTheRulesSay(
      [directory('./', { mode: 0o700 }), directory('said/', { mode: 0o700 }), directory('implied/', { mode: 0o700 })],
      layer,
    );
    expect([merged.get('')?.mode, merged.get('said')?.mode, merged.get('implied')?.mode]).toEqual([
      0o777, 0o777, 0o700,
    ]);
  });

  it.each(['./', '.', '/', './/.'])('is the root, when its entry is called %j', async (name) => {
    const [said = '', unsaid = ''] = await makeLayers([[directory(name, { mode: 0o750 })], [file('implied/x', 'x')]]);
    expect((await readRoot(said)).attributes).toMatchObject({ mode: 0o750, mtime: 1n });
    expect(await chainRootAttributes(inOrder(said, unsaid))).toMatchObject({ mode: 0o750, mtime: 1n });
    expect(await chainRootAttributes(inOrder(unsaid))).toMatchObject({ mode: 0o755, mtime: 0n });
  });

  it.each([
    ['unsaid', 'unsaid', 0o755],
    ['said', 'unsaid', 0o700],
    ['unsaid', 'said', 0o711],
    ['said', 'said', 0o711],
  ])('is the root of the older layer (%s) or of the newer one (%s)', async (older, newer, mode) => {
    const layer = (said: string, as: number) => [
      ...(said === 'said' ? [directory('./', { mode: as })] : []),
      file('f', ''),
    ];
    const tree = await asTheRulesSay(layer(older, 0o700), layer(newer, 0o711));
    expect(tree.get('')?.mode).toBe(mode);
  });

  it('costs nothing: when all are described, the image is what mkfs.erofs alone makes', async () => {
    const entries = [directory('./'), directory('a/', open), file('a/b', 'x')];
    const [image = ''] = await makeLayers([entries]);
    const tar = await writeTar(join(folder, 'layer.tar'), entries);
    const bare = join(folder, 'bare.erofs');
    run('mkfs.erofs', ...convertTarArguments({ output: bare, uuid: layerUuid(digestOf('layer-0')), tar }));
    expect(readFileSync(image).equals(readFileSync(bare))).toBe(true);
  });
});
