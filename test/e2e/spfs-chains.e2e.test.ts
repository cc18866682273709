import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { open as openFile, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough, type Readable, type Writable } from 'node:stream';
import { text } from 'node:stream/consumers';

import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';

import { busybox, guestKernel } from '../../scripts/rig/kernel.js';
import { setImmutable } from '../../src/host/index.js';
import { packageRoot } from '../../src/package.js';
import { Chains, chainNames } from '../../src/spfs/chains/index.js';
import { toBase32 } from '../../src/spfs/digest.js';
import { startGuest } from '../../src/vm/index.js';
import { hexOf, type Digest, type Mount } from '../../src/vocabulary.js';
import { requires } from '../harness/requires.js';
import { digestOf, never, stack, startChainsWorld, type ChainsWorld } from './spfs-chains-world.js';
import { nothingLeft } from './world.js';

type Child = ChildProcessByStdio<Writable, Readable, null>;

const failure = (error: unknown) => error;
const committed = (parent: string) => ({ parent, kind: 'Committed' });

/** Overwrites the beginning of the superblock of a layer's image. */
async function damageLayer(root: string, layer: Digest): Promise<void> {
  const folder = join(root, 'snapshots');
  const names = await readdir(folder, { recursive: true });
  const path = join(
    folder,
    names.find((name) => name.endsWith(`sha256-${hexOf(layer)}.erofs`))!,
  );
  await setImmutable(path, false);
  const image = await openFile(path, 'r+');
  await image.write(Buffer.alloc(64, 0xff), 0, 64, 1024);
  await image.close();
}

requires(
  'root',
  'mkfs.erofs',
  'mkfs.ext4',
  'containerd',
  'registry',
  'qemu',
  'guest-kernel',
)('stacks of layers as chains in containerd', () => {
  let world: ChainsWorld;
  const children: Child[] = [];
  beforeAll(async () => {
    world = await startChainsWorld();
  });
  afterEach(async () => {
    for (const child of children.splice(0)) child.kill('SIGKILL');
    await world.chains.sweep(never);
    await world.collect();
    expect(await world.unfinished()).toEqual([]);
    expect(await world.emptied()).toEqual(nothingLeft);
  });
  afterAll(() => world.close());

  function child(...args: readonly string[]): Child {
    const program = join(packageRoot(), 'test/spfs/chains/process-child.ts');
    const started = spawn(process.execPath, ['--import', 'tsx', program, world.containerd.address, ...args], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    children.push(started);
    return started;
  }

  /** What a child that opens a stack says. */
  async function opened({ stdout }: Child): Promise<readonly Mount[]> {
    const [text] = (await once(stdout, 'data')) as [Buffer];
    return JSON.parse(text.toString()) as readonly Mount[];
  }

  /** What a shell prints in a guest that has the stack at /spfs. */
  async function inGuest(mounts: readonly Mount[], script: string): Promise<string> {
    const stdout = new PassThrough();
    const guest = await startGuest({
      ...{ argv: ['sh', '-c', script], streams: { stdin: undefined, stdout, stderr: 'stdout' } },
      ...{ root: 'minimal', stack: { mounts }, kernel: guestKernel, busybox, timeoutMs: 90_000 },
    });
    const [printed] = await Promise.all([text(stdout), guest.ended.finally(() => stdout.end())]);
    return printed;
  }

  const open = (...layers: readonly Digest[]) => world.chains.open(stack(...layers), { signal: never });

  it('have the upper layers before the lower ones, in either order, and share what they begin with', async () => {
    const a = await world.layer({ only: 'a', both: 'a' });
    const b = await world.layer({ both: 'b' });
    const c = await world.layer({ c: 'c' });
    const converted = world.conversions();
    const [ab, ba, abc] = [await open(a, b), await open(b, a), await open(a, b, c)];
    expect(await world.contents(ab.mounts)).toEqual({ only: 'a', both: 'b' });
    expect(await world.contents(ba.mounts)).toEqual({ only: 'a', both: 'a' });
    expect(await world.contents(abc.mounts)).toEqual({ only: 'a', both: 'b', c: 'c' });
    expect(world.conversions()).toBe(converted);
    const names = chainNames(stack(a, b, c));
    const found = await world.snapshots();
    expect([found.get(names[1]!), found.get(names[2]!)]).toEqual([committed(a), committed(names[1]!)]);
    expect(await world.ctr('snapshots', '--snapshotter', 'spin-erofs', 'tree')).toContain(abc.chain.name);
    for (const each of [ab, ba, abc]) await each.close();
    await world.collect();
    expect([...(await world.snapshots()).keys()].sort()).toEqual([a, b, c].sort());
  });

  it('may have a layer twice, and may be empty', async () => {
    const a = await world.layer({ both: 'a' });
    const b = await world.layer({ both: 'b' });
    const twice = await open(a, b, a);
    expect(await world.contents(twice.mounts)).toEqual({ both: 'a' });
    await twice.close();
    const [before, empty] = [await world.unfinished(), await open()];
    expect([empty.chain, empty.mounts, await world.unfinished()]).toEqual([{ name: '', layers: [] }, [], before]);
    await empty.close();
  });

  it('may have 200 layers, in a guest too', async () => {
    const layers: Digest[] = [];
    for (let at = 0; at < 200; at += 8) {
      const some = Array.from({ length: 8 }, (_, index) => at + index);
      layers.push(...(await Promise.all(some.map((n) => world.layer({ [`file-${n}`]: `${n}`, top: `${n}` })))));
    }
    const whole = await open(...layers);
    const contents = await world.contents(whole.mounts);
    expect(Object.keys(contents)).toHaveLength(201);
    expect([contents['top'], contents['file-0']]).toEqual(['199', '0']);
    const below = await open(...layers.slice(0, 199));
    expect((await world.contents(below.mounts))['top']).toBe('198');
    expect(await inGuest(whole.mounts, 'cat /spfs/top /spfs/file-0; ls /spfs | wc -l')).toBe('1990201\n');
    await Promise.all([whole.close(), below.close()]);
    await whole.close();
  });

  it('are spared by garbage collection while they are kept, by whatever keeps them, and gone afterwards', async () => {
    const [a, b] = [await world.layer({ a: '' }), await world.layer({ b: '' })];
    const layers = stack(a, b);
    const platform = {
      kind: 'platform',
      digest: digestOf(Buffer.from('p')),
      layers,
      createdAt: '',
      origin: '',
    } as const;
    await world.chains.keep(platform, never);
    await world.chains.keep(platform, never);
    await world.chains.release([a, b], never);
    await world.chains.collect(never);
    const names = chainNames(layers);
    expect([...(await world.snapshots()).keys()].sort()).toEqual([...names].sort());
    expect(await world.chains.kept(never)).toEqual([platform.digest]);
    const running = await open(a, b);
    await world.chains.release([platform.digest], never);
    expect([...(await world.snapshots()).values()].map(({ kind }) => kind).sort()).toEqual([
      'Committed',
      'Committed',
      'View',
    ]);
    await running.close();
    await world.collect();
    expect(await world.snapshots()).toEqual(new Map());
  });

  it('lose no link to garbage collections while they are built', async () => {
    const layers = await Promise.all(Array.from({ length: 24 }, (_, n) => world.layer({ [`file-${n}`]: '' })));
    const building = new AbortController();
    const collecting = (async () => {
      while (!building.signal.aborted) await world.collect();
    })();
    const built = await open(...layers).finally(() => building.abort());
    await collecting;
    expect(Object.keys(await world.contents(built.mounts))).toHaveLength(24);
    await built.close();
  });

  it('can be built by several processes at once', async () => {
    const layers = await Promise.all(Array.from({ length: 20 }, (_, n) => world.layer({ [`file-${n}`]: '' })));
    const running = [child('open', ...layers), child('open', ...layers), child('open', ...layers.slice(0, 15))];
    const mounts = await Promise.all(running.map(opened));
    expect(mounts[1]).toEqual(mounts[0]);
    expect(Object.keys(await world.contents(mounts[2]!))).toHaveLength(15);
    expect(await world.chains.sweep(never)).toBe(0);
    for (const each of running) each.stdin.end();
    expect(await Promise.all(running.map(async (each) => (await once(each, 'exit')) as unknown[]))).toEqual(
      running.map(() => [0, null]),
    );
  });

  it('are given up by a later command when their process was killed', async () => {
    const layers = [await world.layer({ a: '' }), await world.layer({ b: '' })];
    const killed = child('open', ...layers);
    await opened(killed);
    killed.kill('SIGKILL');
    await once(killed, 'exit');
    await world.collect();
    expect(await world.unfinished()).toHaveLength(2);
    expect(await world.chains.sweep(never)).toBe(1);
    expect(await world.unfinished()).toEqual([]);
  });

  it('leave nothing when they are cancelled', async () => {
    const layers = await Promise.all(Array.from({ length: 12 }, (_, n) => world.layer({ [`file-${n}`]: '' })));
    const controller = new AbortController();
    const hold = await world.chains.hold(never);
    let links = 0;
    const onLink = () => {
      links += 1;
      if (links === 6) controller.abort(new Error('enough'));
    };
    const { signal } = controller;
    await expect(world.chains.ensure(stack(...layers), { lease: hold.lease, onLink, signal })).rejects.toThrow(
      'enough',
    );
    await hold.release(true);
    expect((await world.snapshots()).size).toBe(12);
    await expect(world.chains.open(stack(...layers), { signal })).rejects.toThrow('enough');
  });

  it('say which layer is not here, and leave nothing', async () => {
    const here = await world.layer({ a: '' });
    const absent = digestOf(Buffer.from('absent'));
    for (const layers of [[absent], [here, absent], [absent, here]]) {
      expect(await open(...layers).catch(failure)).toMatchObject({
        code: 'not-found',
        message: expect.stringContaining(toBase32(absent)) as unknown,
        next: 'import the image, tar or folder that it came with again',
      });
    }
    const object = { kind: 'layer', digest: absent, createdAt: '', origin: '' } as const;
    await expect(world.chains.keep(object, never)).rejects.toMatchObject({ code: 'not-found' });
    expect(await world.chains.kept(never)).toEqual([here]);
  });

  it('say what is damaged, as imports do, until it is imported again', async () => {
    const [a, b] = [await world.layer({ a: 'a' }), await world.layer({ b: 'b' })];
    await world.daemon.stop();
    await damageLayer(world.root, a);
    await world.daemon.start();
    const damaged = (which: RegExp) => ({
      code: 'failed-precondition',
      message: expect.stringMatching(which) as unknown,
      next: 'untag what has it, then import that again',
    });
    expect(await open(a).catch(failure)).toMatchObject(damaged(/^layer \w{8} cannot be used: .*its magic number is/));
    expect(await open(a, b).catch(failure)).toMatchObject({ message: damaged(/^layer \w{8} \(2 of 2.*magic/).message });
    expect(await world.layer({ a: 'a' }).catch(failure)).toMatchObject(damaged(/^\S+\.tar cannot be imported: layer/));
    await world.chains.release([a], never);
    await world.chains.collect(never);
    expect(await world.layer({ a: 'a' })).toBe(a);
    const whole = await open(a, b);
    expect(await world.contents(whole.mounts)).toEqual({ a: 'a', b: 'b' });
    await whole.close();
  });

  it('say who does not answer, and what containerd does not know', async () => {
    const layers = [await world.layer({ a: '' })];
    const unknown = new Chains({
      containerd: world.client,
      snapshotter: 'absent',
      keeper: () => 'test',
      log: world.context.log,
    });
    expect(await unknown.open(stack(...layers), { signal: never }).catch(failure)).toMatchObject({
      code: 'failed-precondition',
      next: expect.stringContaining('[proxy_plugins.absent]') as unknown,
    });
    await world.daemon.stop();
    expect(await open(...layers).catch(failure)).toMatchObject({
      code: 'unavailable',
      message: expect.stringMatching(/^erofs-snapshotter does not answer/) as unknown,
    });
    await world.daemon.start();
    await world.containerd.stop();
    expect(await open(...layers).catch(failure)).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining(`containerd does not answer at ${world.containerd.address}`) as unknown,
    });
    await world.containerd.start();
    await expect
      .poll(() => open(...layers).then(async (again) => again.close().then(() => true)), { timeout: 30_000 })
      .toBe(true);
  });
});
