import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { packageRoot } from '../../src/package.js';
import { parseSpfsDigest } from '../../src/spfs/digest.js';
import { requires } from '../harness/requires.js';
import { never, startChainsWorld, type ChainsWorld } from './spfs-chains-world.js';
import { SpfsProgram } from './spfs-program.js';

type Child = ChildProcessByStdio<null, Readable, null>;

interface Listed {
  readonly name: string;
  readonly digest: string;
  readonly entries: number;
}

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
)('what tags keep in containerd', () => {
  let world: ChainsWorld;
  let program: SpfsProgram;
  const children: Child[] = [];
  beforeAll(async () => {
    world = await startChainsWorld();
    program = new SpfsProgram(world);
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    const names = (await tags()).map(({ name }) => name);
    if (names.length > 0) await program.run('untag', ...names);
    expect([await leases(), await snapshots()]).toEqual([[], []]);
  });
  afterAll(() => world.close());

  const leases = async () => (await world.ctr('leases', 'ls', '-q')).split('\n').filter((id) => id !== '');
  const snapshots = async () => [...(await world.snapshots()).keys()].sort();
  const tags = async () => JSON.parse(await program.run('tags', '--json')) as Listed[];

  /** Imports a folder with one file, and gives the layer's digest, as containerd writes it. */
  async function imported(name: string, ...more: readonly string[]): Promise<string> {
    const folder = world.path(`folder-${name.replaceAll('/', '-')}`);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'name'), name);
    const printed = await program.run('import', folder, '--tag', name, '--json', ...more);
    return parseSpfsDigest((JSON.parse(printed) as { digest: string }).digest)!;
  }

  /** Starts a change of tags that stops at a step. */
  async function stopped(step: string, ...args: readonly string[]): Promise<Child> {
    const path = join(packageRoot(), 'test/spfs/keeping-child.ts');
    const all = ['--import', 'tsx', path, world.containerd.address, program.storageRoot, step, ...args];
    const child = spawn(process.execPath, all, { stdio: ['ignore', 'pipe', 'inherit'] });
    children.push(child);
    expect(String((await once(child.stdout, 'data'))[0])).toBe(`${step}\n`);
    return child;
  }

  async function killed(child: Child): Promise<void> {
    const exit = once(child, 'exit');
    child.kill('SIGKILL');
    await exit;
  }

  it('goes with the next change when an untag was killed after the tag went', async () => {
    const first = await imported('first');
    await killed(await stopped('release', 'untag', 'first'));
    expect([await tags(), (await leases()).length, await snapshots()]).toEqual([[], 1, [first]]);
    const second = await imported('second');
    expect([(await leases()).length, await snapshots()]).toEqual([1, [second]]);
  });

  it('goes with the next change when an import was killed before its tag was written', async () => {
    const [layer, one] = [await world.layer({ a: 'a' }), await imported('one')];
    await killed(await stopped('keep', 'import', 'never', layer));
    // What the test itself keeps, what the tag keeps, and what nothing needs.
    expect([(await tags()).map(({ name }) => name), (await leases()).length]).toEqual([['one'], 3]);
    await world.chains.release([layer], never);
    expect(await snapshots()).toEqual([layer, one].sort());
    await program.run('untag', 'one');
    expect([await leases(), await snapshots()]).toEqual([[], []]);
  });

  it('is what its own storage root has, and not what that of another has', async () => {
    const ours = await imported('ours');
    const env = { SPFS_STORAGE_ROOT: join(world.folder, 'other-root') };
    const again = await program.try(['import', world.path('folder-ours'), '--tag', 'theirs'], { env });
    expect(again.exitCode).toBe(0);
    expect([(await leases()).length, await snapshots()]).toEqual([2, [ours]]);
    expect((await program.try(['untag', 'theirs'], { env })).exitCode).toBe(0);
    expect([(await leases()).length, await snapshots()]).toEqual([1, [ours]]);
  });

  it('stays while its store is away, whatever stands in its place, and is known again wherever the store comes back', async () => {
    const layer = await imported('moved');
    await rename(program.storageRoot, join(world.folder, 'moved-root'));
    const other = await imported('other');
    expect([(await leases()).length, await snapshots()]).toEqual([2, [layer, other].sort()]);
    const env = { SPFS_STORAGE_ROOT: join(world.folder, 'moved-root') };
    expect((await program.try(['untag', 'moved'], { env })).exitCode).toBe(0);
    expect([(await leases()).length, await snapshots()]).toEqual([1, [other]]);
  });

  it('stays, and so do the tags, when containerd is down', async () => {
    const layer = await imported('down');
    const before = await program.run('log', 'down', '--json');
    await world.containerd.stop();
    for (const args of [
      ['untag', 'down'],
      ['tag', 'down', 'down/again'],
    ]) {
      const { exitCode, stdout, stderr } = await program.try(args);
      expect([exitCode, stdout, stderr]).toEqual([125, '', expect.stringMatching(/does not answer.*\nnext: start/s)]);
    }
    expect((await tags()).map(({ name }) => name)).toEqual(['down']);
    expect(await program.run('log', 'down', '--json')).toBe(before);
    await world.containerd.start();
    expect([(await leases()).length, await snapshots()]).toEqual([1, [layer]]);
  });

  it('is that of the other when two tag at once and the one whose turn it is gets killed', async () => {
    const [one, other] = [await imported('turn/one'), await imported('turn/other')];
    const child = await stopped('keep', 'tag', 'shared', one);
    const waiting = program.try(['tag', 'turn/other', 'shared']);
    // It waits for its turn, however long that takes: nothing that it could say tells so.
    expect(await Promise.race([waiting, pause(2_000, 'waiting')])).toBe('waiting');
    await killed(child);
    expect((await waiting).exitCode).toBe(0);
    const [shared] = (await tags()).filter(({ name }) => name === 'shared');
    expect([shared?.entries, parseSpfsDigest(shared?.digest ?? '')]).toEqual([1, other]);
  });

  it('is what the tags name when one of two tags at once is killed, whenever that is', async () => {
    const [one, other] = [await imported('whole/one'), await imported('whole/other')];
    const digests = new Map([
      ['whole/one', one],
      ['whole/other', other],
    ]);
    // From before it has read its configuration to after its end.
    for (const [round, ms] of [100, 400, 500, 600, 900].entries()) {
      const [dying, living] = round % 2 === 0 ? ['whole/one', 'whole/other'] : ['whole/other', 'whole/one'];
      const names = Array.from({ length: 20 }, (_, n) => `round-${round}/${n}`);
      const doomed = program.try(['tag', dying, 'whole/shared', ...names]);
      const lasting = program.try(['tag', living, 'whole/shared']);
      await pause(ms);
      doomed.kill('SIGKILL');
      await doomed;
      expect((await lasting).exitCode).toBe(0);
      const now = await tags();
      const given = now.filter(({ name }) => name.startsWith(`round-${round}/`));
      expect([0, names.length]).toContain(given.length);
      for (const { digest } of given) expect(parseSpfsDigest(digest)).toBe(digests.get(dying));
    }
    expect([(await leases()).length, await snapshots()]).toEqual([2, [one, other].sort()]);
  });
});
