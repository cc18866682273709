import { mkdir, readdir, readFile, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { pino } from 'pino';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { MergedImages } from '../../src/snapshots/merged-images.js';
import { RootPaths } from '../../src/snapshots/paths.js';
import { checkErofsTools } from '../../src/erofs/index.js';
import { getXattr, setXattr } from '../../src/host/index.js';
import { Slots } from '../../src/jobs.js';
import { manifestLine } from '../../src/layers/index.js';
import { silentLogger } from '../../src/log.js';
import { disksFromMounts } from '../../src/vm/disks.js';
import { oldestFirst, newestFirst, type Mount } from '../../src/vocabulary.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { mounted } from '../erofs/images.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';
import { commitFolder } from './crash-operations.js';

const devicesOf = ([mount]: readonly Mount[]) =>
  (mount?.options ?? []).flatMap((option) => (option.startsWith('device=') ? [option.slice('device='.length)] : []));

requires(
  'root',
  'loop',
  'erofs',
  'overlay',
  'mkfs.erofs',
  'mkfs.ext4',
)('a chain that mkfs.erofs alone would merge wrongly', () => {
  let world: InProcessWorld;
  let lines: string[];
  beforeEach(async () => {
    lines = [];
    const log = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
    world = await makeInProcessWorld({ log });
    // A folder, then a link, then a folder again, each of one name.
    await commitFolder(world.snapshotter, 'c1', '', async (upper) => {
      await mkdir(join(upper, 'opt', 'app'), { recursive: true });
      await writeFile(join(upper, 'opt', 'app', 'secret'), 'old');
    });
    await commitFolder(world.snapshotter, 'c2', 'c1', async (upper) => {
      await mkdir(join(upper, 'opt'));
      await symlink('/etc', join(upper, 'opt', 'app'));
    });
    await commitFolder(world.snapshotter, 'c3', 'c2', async (upper) => {
      await mkdir(join(upper, 'opt', 'app'), { recursive: true });
      await writeFile(join(upper, 'opt', 'app', 'new'), 'new');
    });
  });
  afterEach(() => world.close());

  const own = (...path: string[]) => join(world.root, 'snapshots', '3', ...path);
  const shown = async (mounts: readonly Mount[]) => {
    const image = await mounted(await temporaryFolder(), mounts[0]?.source ?? '', devicesOf(mounts));
    return readdir(join(image, 'opt', 'app'));
  };

  it('is answered with one device more, and its files lie in a folder of their own, whatever is asked and restarted', async () => {
    const view = await world.port.view('look', 'c3');
    const box = await world.port.prepare('box', 'c3');
    expect(await shown(view)).toEqual(['new']);
    expect(view[0]?.source).toBe(own('merged', 'fsmeta.erofs'));
    expect(devicesOf(view).map((path) => `${basename(dirname(path))}/${manifestLine(basename(path))}`)).toEqual([
      '1/blob:layer.erofs',
      expect.stringMatching(/^2\/sha256:/),
      'merged/blob:inlay-2.erofs',
      expect.stringMatching(/^3\/sha256:/),
    ]);
    expect(devicesOf(box)).toEqual(devicesOf(view));
    // What VM runtimes compare, and what QEMU would be given.
    const manifest = await readFile(own('merged', 'layers.manifest'), 'utf8');
    expect(manifest).toBe(
      devicesOf(view)
        .map((path) => `${manifestLine(basename(path))}\n`)
        .join(''),
    );
    expect((await disksFromMounts(box)).map(({ role }) => role)).toEqual(['merged', 'writable']);
    const extents = (await readFile(own('merged', 'merged.vmdk'), 'utf8')).match(/(?<=FLAT ").*(?=" )/g);
    expect(extents).toEqual([view[0]?.source, ...devicesOf(view)]);
    for (const lost of [false, true]) {
      await world.snapshotter.close();
      if (lost) await rm(join(world.root, 'metadata.db'), { recursive: true });
      await world.reopen();
      expect(await world.port.mounts('look')).toEqual(view);
      expect(await world.port.mounts('box')).toEqual(box);
      expect(await world.port.view(`again-${lost}`, 'c3')).toEqual(view);
    }
    // Each side of a Diff is believed, and mounted with all its devices.
    const signal = new AbortController().signal;
    for (const right of [box, view]) {
      const sides = await world.snapshotter.compareSides({ left: view, right, labels: {}, signal });
      const seen = await sides.withTrees((left, { path }) =>
        Promise.all([readdir(join(left.path, 'opt', 'app')), readdir(join(path, 'opt', 'app'))]),
      );
      expect(seen).toEqual([['new'], ['new']]);
    }
    expect(await readdir(own())).not.toContain('fsmeta.erofs');
    expect(lines.filter((line) => line.includes('merge'))).toEqual([]);
    for (const key of ['look', 'box', 'again-false', 'again-true', 'c3']) await world.port.remove(key);
    await world.port.cleanup();
    expect(await readdir(join(world.root, 'snapshots'))).toEqual(['1', '2']);
  });

  it('has the same bytes when a part of its merged image is lost or damaged', async () => {
    const view = await world.port.view('look', 'c3');
    const names = (await readdir(own('merged'))).sort();
    const before = await Promise.all(names.map((name) => readFile(own('merged', name))));
    for (const name of names) {
      for (const damage of [rm, (path: string) => truncate(path, 100)]) {
        await damage(own('merged', name));
        await world.reopen();
        expect(await world.port.mounts('look')).toEqual(view);
        const after = await Promise.all(names.map((path) => readFile(own('merged', path))));
        expect(after.every((bytes, index) => bytes.equals(before[index]!))).toBe(true);
      }
    }
  });

  it('that an earlier release merged keeps its files and answers; new snapshots get others; both are logged', async () => {
    await world.port.view('old', 'c3');
    await world.snapshotter.close();
    // The root as that release left it: an image beside the layer, and a record that knows of nothing else.
    await rm(own('merged'), { recursive: true });
    const record = join(world.root, 'snapshots', '4', 'snapshot.json');
    const stored = JSON.parse(await readFile(record, 'utf8')) as { serve: Record<string, unknown> };
    const { rules: _rules, inlays: _inlays, ...serve } = stored.serve;
    await writeFile(record, JSON.stringify({ ...stored, version: 1, serve }));
    await rm(join(world.root, 'metadata.db'), { recursive: true });
    const images = new MergedImages({
      tools: await checkErofsTools(),
      slots: new Slots(1),
      deadlineMs: 60_000,
      log: silentLogger(),
    });
    const paths = new RootPaths(world.root);
    const layers = ['3', '2', '1'].map((id) => join(world.root, 'snapshots', id, 'layer.erofs'));
    const files = await Promise.all(layers.map(async (path) => join(dirname(path), await linked(path))));
    await images.ensureAsRecorded(paths.snapshot(3), oldestFirst(newestFirst(files)), { rules: 'mkfs', inlays: [] });
    const kept = ['fsmeta.erofs', 'layers.manifest', 'merged.vmdk'];
    const before = await Promise.all(kept.map((name) => readFile(own(name))));
    await world.reopen();
    lines.length = 0;

    const old = await world.port.mounts('old');
    expect(old[0]?.source).toBe(own('fsmeta.erofs'));
    expect(devicesOf(old)).toHaveLength(3);
    const anew = await world.port.view('anew', 'c3');
    expect(anew[0]?.source).toBe(own('merged', 'fsmeta.erofs'));
    expect([await shown(old), await shown(anew)]).toEqual([['new', 'secret'], ['new']]);
    expect(await world.port.mounts('old')).toEqual(old);
    expect(lines.map((line) => (JSON.parse(line) as { msg: string }).msg)).toEqual([
      expect.stringContaining('is served as an earlier release recorded it'),
      expect.stringContaining('it is merged anew for new snapshots'),
    ]);
    // What a guest may be reading is made again to the same bytes, right or wrong.
    await rm(own('fsmeta.erofs'));
    await world.reopen();
    expect(await world.port.mounts('old')).toEqual(old);
    const after = await Promise.all(kept.map((name) => readFile(own(name))));
    expect(after.map((bytes, index) => bytes.equals(before[index]!))).toEqual([true, true, true]);
  });

  it('since its root has xattrs shows them, with the devices of the layers alone', async () => {
    await commitFolder(world.snapshotter, 'd1', '', (upper) => writeFile(join(upper, 'a'), 'a'));
    await commitFolder(world.snapshotter, 'd2', 'd1', (upper) => {
      setXattr(upper, 'user.note', 'kept');
      return writeFile(join(upper, 'b'), 'b');
    });
    const view = await world.port.view('look', 'd2');
    expect(view[0]?.source).toMatch(/\/merged\/fsmeta\.erofs$/);
    expect(devicesOf(view)).toHaveLength(2);
    const image = await mounted(await temporaryFolder(), view[0]?.source ?? '', devicesOf(view));
    expect(getXattr(image, 'user.note')?.toString()).toBe('kept');
    await world.reopen();
    expect(await world.port.mounts('look')).toEqual(view);
  });
});

/** The file that the folder's layer.erofs is, or leads to. */
async function linked(path: string): Promise<string> {
  const names = await readdir(dirname(path));
  return names.find((name) => /^sha256-.*\.erofs$/.test(name)) ?? basename(path);
}
