import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtemp, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';
import { listLoopDevices, listMounts } from '../../src/host/index.js';
import type { SnapshotInfo, Snapshotter } from '../../src/snapshots/index.js';
import type { Mount } from '../../src/vocabulary.js';
import { openSnapshotter } from '../conformance/in-process.js';
import { bundlePrograms } from '../harness/bundle.js';
import { requires } from '../harness/requires.js';
import { runsAll, share } from '../harness/share.js';
import { makeChain, operations, type Operation } from './crash-operations.js';

const exec = promisify(execFile);

/** Crashes tried at the same time: each has a root of its own. */
const lanes = 2;

/** Steps of each operation before which a run kills it, when it does not kill it before every one. */
const stepsOfAShare = 6;

const bundle = bundlePrograms(import.meta.dirname, 'crash-child');

/** What a crash must not change. */
interface Baseline {
  readonly infos: ReadonlyMap<string, SnapshotInfo>;
  readonly mounts: ReadonlyMap<string, readonly Mount[]>;
  readonly layers: ReadonlyMap<string, string>;
}

requires(
  'root',
  'loop',
  'erofs',
  'ext4',
  'overlay',
  'mkfs.erofs',
)('killed before any step, a restart finds', () => {
  it.each(Object.entries(operations))('every snapshot whole or absent: %s', async (name, operation) => {
    await throughEveryCrash(name, operation);
  });

  it('a root that is its own again, empty and marked: a first start', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    try {
      for (let limit = 1, killed = true; killed; limit += 1) {
        const root = join(folder, String(limit));
        ({ killed } = await crash(root, 'first start', limit));
        const snapshotter = await openSnapshotter(root);
        expect(await infosOf(snapshotter), `killed before step ${limit}`).toEqual(new Map());
        await snapshotter.close();
        expect(await readdir(root)).toContain('.erofs-snapshotter-leveldb');
        if (!killed) expect(limit, 'a first start was hardly ever cut short').toBeGreaterThan(5);
      }
    } finally {
      await exec('rm', ['-rf', folder]);
    }
  });
});

async function throughEveryCrash(name: string, operation: Operation): Promise<void> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
  let crashes = 0;
  try {
    const lane = async (number: number) => {
      const root = join(folder, `lane-${number}`);
      const baseline = await setUp(root, operation);
      await exec('cp', ['-a', root, `${root}.pristine`]);
      return async (limit: number) => {
        await exec('rm', ['-rf', root]);
        await exec('cp', ['-a', `${root}.pristine`, root]);
        const { killed, steps } = await crash(root, name, limit);
        if (killed) crashes += 1;
        await expectNothingMounted(root, `${name}, ${killed ? 'killed before' : 'stopped after'} step ${limit}`);
        await expectSound(root, operation, baseline, `${name}, step ${limit}`);
        return { killed, steps };
      };
    };
    const [first, ...others] = await Promise.all(Array.from({ length: lanes }, (_, number) => lane(number)));
    const whole = await first!(0);
    expect(whole.steps, 'the operation changes hardly anything').toBeGreaterThan(3);
    const limits = limitsOf(whole.steps, operation);
    await Promise.all(
      [first!, ...others].map(async (attempt) => {
        for (const limit of limits) if (!(await attempt(limit)).killed) return;
      }),
    );
    expect(crashes, 'the operation was hardly ever cut short').toBeGreaterThan(1);
  } finally {
    await exec('rm', ['-rf', folder]);
  }
}

/** The steps to be killed before, which the lanes take from one iterator; the whole ends where the operation does. */
function limitsOf(steps: number, { everyStep = runsAll }: Operation): Iterable<number> & Iterator<number> {
  const counted = Array.from({ length: steps }, (_, index) => index + 1);
  function* limits() {
    yield* everyStep ? counted : share(counted, stepsOfAShare);
    // An operation may have a step more than it had when they were counted.
    for (let next = steps + 1; everyStep; next += 1) yield next;
  }
  return limits();
}

async function setUp(root: string, operation: Operation): Promise<Baseline> {
  const snapshotter = await openSnapshotter(root);
  try {
    await makeChain(snapshotter);
    await operation.setUp?.(snapshotter);
    const infos = await infosOf(snapshotter);
    const mounts = new Map<string, readonly Mount[]>();
    for (const { name, kind } of infos.values()) {
      if (kind !== 'committed') mounts.set(name, await snapshotter.mounts(name));
    }
    return { infos, mounts, layers: await hashLayers(root) };
  } finally {
    await snapshotter.close();
    await operation.damage?.(root);
  }
}

/** Kills the operation before a step, or lets it come to its end: with a limit of 0, or when it has fewer steps. */
async function crash(root: string, name: string, limit: number): Promise<{ killed: boolean; steps: number }> {
  try {
    const { stdout } = await exec(process.execPath, [bundle('crash-child'), root, name, String(limit)]);
    return { killed: false, steps: Number(stdout) };
  } catch (error) {
    const { signal, stderr } = error as { signal?: string; stderr?: string };
    if (signal === 'SIGKILL') return { killed: true, steps: limit };
    throw new Error(`the child failed by itself at step ${limit}: ${stderr ?? String(error)}`, { cause: error });
  }
}

async function expectSound(root: string, operation: Operation, before: Baseline, when: string): Promise<void> {
  const snapshotter = await openSnapshotter(root);
  try {
    await snapshotter.cleanup();
    await expectUnchanged(snapshotter, root, operation, before, when);
    await expectNothingLeft(root, await infosOf(snapshotter), when);
    await operation.run(snapshotter);
    await snapshotter.cleanup();
    const names = new Set([...before.infos.keys(), ...(operation.adds ?? [])]);
    for (const removed of operation.removes ?? []) names.delete(removed);
    const after = await infosOf(snapshotter);
    const known = [...after.keys()].map((name) => name.replace(/^shared-layer\/\d+$/, 'shared-layer/<id>'));
    expect(known.sort(), `${when}, asked for again`).toEqual([...names].sort());
    for (const { name, kind } of after.values()) if (kind !== 'committed') await snapshotter.mounts(name);
    await expectNothingLeft(root, after, `${when}, asked for again`);
    // A snapshot that was cut short must be as good as any other: it can be built upon.
    for (const { name, kind } of after.values()) {
      if (kind === 'committed') await snapshotter.view({ key: `check-${name}`, parent: name, labels: {} });
    }
  } finally {
    await snapshotter.close();
  }
}

async function expectUnchanged(
  snapshotter: Snapshotter,
  root: string,
  { removes = [] }: Operation,
  before: Baseline,
  when: string,
): Promise<void> {
  const now = await infosOf(snapshotter);
  for (const [name, { kind, parent }] of before.infos) {
    if (removes.includes(name)) continue;
    expect(now.get(name), when).toMatchObject({ name, kind, parent });
    const mounts = before.mounts.get(name);
    if (mounts) expect(await snapshotter.mounts(name), when).toEqual(mounts);
  }
  const layers = await hashLayers(root);
  for (const [path, hash] of before.layers) expect(layers.get(path), `${when}: ${path}`).toBe(hash);
}

/** No temporary file, no folder without a record, nothing in the trash, no mount and no loop device. */
async function expectNothingLeft(root: string, infos: ReadonlyMap<string, SnapshotInfo>, when: string): Promise<void> {
  const paths = await readdir(root, { recursive: true });
  expect(
    paths.filter((path) => basename(path).startsWith('.tmp-')),
    when,
  ).toEqual([]);
  expect(
    paths.filter((path) => basename(path) === 'rw'),
    when,
  ).toEqual([]);
  expect(await readdir(join(root, 'trash')), when).toEqual([]);
  expect(await readdir(join(root, 'snapshots')), when).toHaveLength(infos.size);
  await expectNothingMounted(root, when);
}

/** The kernel takes mounts and loop devices with the process, whether a later start looks for them or not. */
async function expectNothingMounted(root: string, when: string): Promise<void> {
  const mounted = (await listMounts()).filter(({ target }) => target.startsWith(root));
  expect(mounted, when).toEqual([]);
  // A device goes when its last user is gone, which a busy kernel tells a little later.
  await expect.poll(() => loopsBelow(root), { message: when, timeout: 5000 }).toEqual([]);
}

async function loopsBelow(root: string): Promise<string[]> {
  return (await listLoopDevices()).map(({ image }) => image).filter((image) => image.startsWith(root));
}

async function infosOf(snapshotter: Snapshotter): Promise<ReadonlyMap<string, SnapshotInfo>> {
  const infos = new Map<string, SnapshotInfo>();
  for await (const info of snapshotter.list([])) infos.set(info.name, info);
  return infos;
}

/** SHA-256 of every layer, by its path below the root. */
async function hashLayers(root: string): Promise<ReadonlyMap<string, string>> {
  const paths = (await readdir(root, { recursive: true })).filter((path) => path.endsWith('.erofs')).sort();
  const hashes = paths.map(async (path) => {
    const hash = createHash('sha256').update(await readFile(join(root, path)));
    return [path, hash.digest('hex')] as const;
  });
  return new Map(await Promise.all(hashes));
}
