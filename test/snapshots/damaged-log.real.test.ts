import { cp, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { run } from '../../src/host/index.js';
import { openSnapshotter, portOf } from '../conformance/in-process.js';
import type { Info } from '../conformance/world.js';
import { requires } from '../harness/requires.js';
import { randomOf, runSeed, times } from '../harness/share.js';
import { commitFolder, makeChain } from './crash-operations.js';

interface ClosedRoot {
  readonly root: string;
  readonly infos: readonly Info[];
  readonly log: string;
}

/** A closed root after many changes, and what it holds. */
async function closedRoot(folder: string): Promise<ClosedRoot> {
  const root = join(folder, 'root');
  const snapshotter = await openSnapshotter(root);
  const port = portOf(snapshotter);
  await makeChain(snapshotter);
  for (let at = 0; at < 6; at += 1) {
    await port.update('c1', { round: String(at) });
    await port.update('old', { round: String(at) }, ['labels.round']);
    await commitFolder(snapshotter, `d${at}`, at === 0 ? 'c3' : `d${at - 1}`, (upper) =>
      writeFile(join(upper, 'x'), ''),
    );
    await port.prepare(`box-${at}`, `d${at}`, { at: String(at) });
    await port.view(`view-${at}`, 'c1');
  }
  const infos = await port.list();
  await snapshotter.close();
  const name = (await readdir(join(root, 'metadata.db'))).find((file) => file.endsWith('.log'));
  return { root, infos, log: join('metadata.db', name!) };
}

/** Opens a copy of the root whose log was changed, and tells what is there. */
async function afterDamage(
  { root, log }: { root: string; log: string },
  damage: (bytes: Buffer) => Buffer,
): Promise<{ infos: readonly Info[]; asideOf: readonly string[] }> {
  const copy = `${root}-damaged`;
  await rm(copy, { recursive: true, force: true });
  // All but the database is the same files: what changes one of them gives it a new file.
  await run('cp', ['-al', root, copy], { deadlineMs: 60_000 });
  await rm(join(copy, 'metadata.db'), { recursive: true });
  await cp(join(root, 'metadata.db'), join(copy, 'metadata.db'), { recursive: true });
  await writeFile(join(copy, log), damage(await readFile(join(copy, log))));
  const snapshotter = await openSnapshotter(copy);
  try {
    const port = portOf(snapshotter);
    const infos = await port.list();
    for (const name of ['old', 'box-5', 'view-5']) await port.mounts(name);
    const asideOf = (await readdir(copy)).filter((name) => name.startsWith('metadata.db.corrupt'));
    return { infos, asideOf };
  } finally {
    await snapshotter.close();
  }
}

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.erofs',
  'mkfs.ext4',
)("damage in LevelDB's log", () => {
  let folder: string;
  let world: ClosedRoot;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    world = await closedRoot(folder);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it('of any byte loses no record, label or answer', async () => {
    const random = randomOf();
    for (let at = 0; at < times(12, 80); at += 1) {
      const [place, mask] = [random.int(0, 999_999), random.int(1, 255)];
      const { infos } = await afterDamage(world, (bytes) => {
        const offset = Math.floor((place / 1_000_000) * bytes.length);
        bytes[offset] = bytes[offset]! ^ mask;
        return bytes;
      });
      expect(infos, `seed ${runSeed()}: at ${place / 10_000} %, by ${mask}`).toEqual(world.infos);
    }
  }, 600_000);

  it('that cuts off any number of the last changes loses nothing', async () => {
    for (const left of [0.2, 0.4, 0.6, 0.8, 0.95, 0.99, 0.999]) {
      const { infos } = await afterDamage(world, (bytes) => bytes.subarray(0, Math.floor(bytes.length * left)));
      expect(infos, `${left} of the log left`).toEqual(world.infos);
    }
  });

  it('that is none changes nothing: the database is not made again', async () => {
    expect(await afterDamage(world, (bytes) => bytes)).toEqual({ infos: world.infos, asideOf: [] });
  });
});
