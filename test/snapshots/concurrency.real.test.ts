import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { Slots } from '../../src/jobs.js';
import { makeInProcessWorld, type InProcessWorld } from '../conformance/in-process.js';
import { codeOf } from '../conformance/world.js';
import { requires } from '../harness/requires.js';
import { applyTo, digestOf } from './applied.js';
import { makeChain } from './crash-operations.js';
import { fakeMkfs } from './fake-mkfs.js';
import { listingOf } from './root-listing.js';

/** How many of the calls ended with each code; `done` for success. */
async function outcomes(calls: readonly Promise<unknown>[]): Promise<Record<string, number>> {
  const tally: Record<string, number> = {};
  for (const result of await Promise.allSettled(calls)) {
    const code = result.status === 'fulfilled' ? 'done' : (codeOf(result.reason) ?? String(result.reason));
    tally[code] = (tally[code] ?? 0) + 1;
  }
  return tally;
}

const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

requires(
  'mkfs.erofs',
  'mkfs.ext4',
  'loop',
  'ext4',
)('many calls at once', () => {
  let world: InProcessWorld;
  beforeEach(async () => {
    world = await makeInProcessWorld();
    await makeChain(world.snapshotter);
  });
  afterEach(() => world.close());

  it('fifty containers prepared at once on one chain cost one merge, and get the same image', async () => {
    const { calls } = await fakeMkfs('real "$@"');
    const answers = await Promise.all(times(50, (index) => world.port.prepare(`box-${index}`, 'c3')));
    expect((await calls()).filter((call) => call.includes('--ovlfs-strip=1'))).toHaveLength(1);
    expect(new Set(answers.map(([image]) => JSON.stringify(image))).size).toBe(1);
    expect(new Set(answers.map((mounts) => mounts.at(-1)?.source)).size).toBe(50);
  });

  it('one key prepared and viewed by twenty at once is made once', async () => {
    const calls = times(20, (index) => (index % 2 ? world.port.view('same', 'c2') : world.port.prepare('same', 'c2')));
    expect(await outcomes(calls)).toEqual({ done: 1, 'already-exists': 19 });
    expect(await readdir(join(world.root, 'snapshots'))).toHaveLength(6);
    expect(await readdir(join(world.root, 'trash'))).toEqual([]);
  });

  it('two keys committed to one name at once: one wins, the other stays active with no layer left', async () => {
    for (const key of ['extract-a', 'extract-b']) {
      const [bind] = await world.port.prepare(key);
      await writeFile(join(bind!.source, key), key);
    }
    const commits = ['extract-a', 'extract-b'].map((key) => world.port.commit('name', key));
    expect(await outcomes(commits)).toEqual({ done: 1, 'already-exists': 1 });
    const [loser] = await world.port.list('kind==active,name~=/^extract-/');
    const [bind] = await world.port.mounts(loser!.name);
    const left = await readdir(join(bind!.source, '..'));
    expect(left.sort()).toEqual(['.erofs-snapshotter-leveldb', '.erofslayer', 'fs', 'snapshot.json']);
    // Invariant 11: the next Commit converts what the folder has then, not what a refused one left.
    await writeFile(join(bind!.source, 'later'), 'later');
    await world.port.commit('other', loser!.name);
    expect((await world.port.stat('other')).kind).toBe('committed');
  });

  it('one key committed by ten at once is committed once', async () => {
    await world.port.prepare('extract-a');
    const commits = times(10, (index) => world.port.commit(`name-${index}`, 'extract-a'));
    expect(await outcomes(commits)).toEqual({ done: 1, 'not-found': 9 });
  });

  it('a parent removed while containers are prepared on it: each call ends as if it came before or after', async () => {
    await applyTo(world.snapshotter, await world.port.prepare('extract-a'), digestOf('a'));
    await world.port.commit('leaf', 'extract-a', { parent: 'c3' });
    const prepares = times(6, (index) => world.port.prepare(`box-${index}`, 'leaf'));
    const removal = world.port.remove('leaf');
    const prepared = await outcomes(prepares);
    const removed = await outcomes([removal]);
    if (removed['done']) expect(prepared).toEqual({ 'not-found': 6 });
    else expect(prepared['done']).toBeGreaterThan(0);
    const names = (await world.port.list('parent==leaf')).length;
    expect(names).toBe(prepared['done'] ?? 0);
    await world.reopen();
    expect((await world.port.list('parent==leaf')).length).toBe(names);
  });

  it('a key removed while it is prepared and committed leaves no folder without a record', async () => {
    await outcomes([
      ...[world.port.prepare('extract-a'), world.port.remove('extract-a'), world.port.prepare('extract-a')],
      ...[world.port.commit('name', 'extract-a'), world.port.remove('extract-a'), world.port.remove('name')],
    ]);
    await world.port.cleanup();
    expect(await readdir(join(world.root, 'snapshots'))).toHaveLength((await world.port.list()).length);
  });

  it('Cleanup and List go on while snapshots come and go', async () => {
    const churn = times(10, async (index) => {
      await world.port.view(`view-${index}`, 'c1');
      await world.port.remove(`view-${index}`);
    });
    const reads = times(10, () => Promise.all([world.port.cleanup(), world.port.list('kind==committed')]));
    expect(await outcomes([...churn, ...reads])).toEqual({ done: 20 });
    await world.port.cleanup();
    expect(await readdir(join(world.root, 'trash'))).toEqual([]);
  });

  it('no more conversions run at once than there are slots', async () => {
    const narrow = await makeInProcessWorld({ slots: new Slots(1) });
    try {
      const { calls } = await fakeMkfs('echo begin >> "$0.log"; sleep 0.1; real "$@"; echo end >> "$0.log"');
      await Promise.all(times(4, (index) => narrow.port.prepare(`extract-${index}`)));
      await Promise.all(times(4, (index) => narrow.port.commit(`name-${index}`, `extract-${index}`)));
      expect(await calls()).toHaveLength(4);
      const bin = (process.env['PATH'] ?? '').split(':')[0] ?? '';
      const log = (await readFile(join(bin, 'mkfs.erofs.log'), 'utf8')).trimEnd().split('\n');
      expect(log).toEqual(times(8, (index) => (index % 2 ? 'end' : 'begin')));
    } finally {
      await narrow.close();
    }
  });

  it('a Commit that is cancelled kills its tool, leaves nothing, and can be asked for again', async () => {
    const { calls } = await fakeMkfs('first && exec sleep 60; real "$@"');
    const [bind] = await world.port.prepare('extract-a');
    await writeFile(join(bind!.source, 'file'), 'content');
    const before = await listingOf(world.root);
    const controller = new AbortController();
    const request = { name: 'name', key: 'extract-a', parent: '', labels: {} };
    const commit = world.snapshotter.commit({ ...request, signal: controller.signal });
    while ((await calls()).length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    controller.abort();
    await expect(commit).rejects.toMatchObject({ code: 'cancelled' });
    expect(withoutTimes(await listingOf(world.root))).toEqual(withoutTimes(before));
    await world.snapshotter.commit(request);
  });

  it('a Prepare that is cancelled while it waits for a merge leaves nothing; the merge ends for those who still wait', async () => {
    const { calls } = await fakeMkfs('sleep 0.5; real "$@"');
    const controller = new AbortController();
    const request = { parent: 'c3', labels: {} };
    const cancelled = world.snapshotter.prepare({ ...request, key: 'gone', signal: controller.signal });
    const kept = world.snapshotter.prepare({ ...request, key: 'kept' });
    while ((await calls()).length === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    controller.abort(new Error('the caller went away'));
    await expect(cancelled).rejects.toThrow('the caller went away');
    expect((await kept)[0]?.type).toBe('format/erofs');
    expect(await world.port.list('name==gone')).toEqual([]);
    expect(await readdir(join(world.root, 'snapshots'))).toHaveLength(6);
  });
});

/** A failed call may have written `snapshot.json` again, with the same content. */
function withoutTimes(listing: readonly string[]): string[] {
  return listing.map((line) => line.replace(/ \d+\.\d+( |$)/, ' '));
}
