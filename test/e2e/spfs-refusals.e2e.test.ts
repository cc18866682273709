import { createServer } from 'node:net';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { toBase32 } from '../../src/spfs/index.js';
import { requires } from '../harness/requires.js';
import { digestOf, tarOf } from './spfs-chains-world.js';
import { spfsNeeds, startSpfsWorld, type SpfsWorld } from './spfs-world.js';

requires(...spfsNeeds)('spfs run refuses, with a next step, and leaves nothing:', () => {
  let world: SpfsWorld;
  let twins: readonly [string, string];

  beforeAll(async () => {
    world = await startSpfsWorld();
    twins = await importTwins();
  });
  afterEach(async () => expect(await world.remains()).toEqual([]));
  afterAll(() => world.close());

  /** Two layers whose digests begin alike. */
  async function importTwins(): Promise<[string, string]> {
    const known = new Map<string, Buffer>();
    for (let number = 0; ; number += 1) {
      const tar = await tarOf({ number: String(number) });
      const digest = toBase32(digestOf(tar));
      const other = [...known.keys()].find((each) => each.slice(0, 2) === digest.slice(0, 2));
      known.set(digest, tar);
      if (other === undefined) continue;
      for (const [index, each] of [other, digest].entries()) {
        const path = await world.write(`twin-${index}.tar`, known.get(each) ?? '');
        await world.spfs('import', path, '--tag', `demo/twin-${index}`);
      }
      return [other, digest];
    }
  }

  async function refuses(refs: string, message: RegExp): Promise<void> {
    const { exitCode, stdout, stderr } = await world.trySpfs(['run', refs, '--', 'true']);
    expect([stderr, stdout, exitCode]).toEqual([expect.stringMatching(message), '', 125]);
  }

  it('the beginning of two digests, naming both', async () => {
    const [one, other] = twins;
    for (const beginning of [one.slice(0, 1), one.slice(0, 2), `${one.slice(0, 2)}====`]) {
      await refuses(beginning, new RegExp(`^spfs: ${beginning} can be .*layer ${one} \\(demo/twin-0\\)`));
      await refuses(
        beginning,
        new RegExp(`layer ${other} \\(demo/twin-1\\).*\nnext: give more characters of the digest`),
      );
    }
  });

  it.each([
    [
      'an unknown digest',
      toBase32(digestOf(Buffer.from('unknown'))),
      /there is no object with this digest here\nnext: /,
    ],
    ['an unknown digest in hex', digestOf(Buffer.from('unknown')), /there is no object with this digest here\nnext: /],
    ['the beginning of no digest', 'A2A2A2A2', /no tag A2A2A2A2, and no object whose digest begins so\nnext: /],
  ])('%s', async (_, refs, message) => {
    await refuses(refs, message);
  });

  describe('what is no spec file:', () => {
    const path = (name: string) => join(world.files, name);

    it('10 MB, and a YAML bomb', async () => {
      const large = await world.write(
        'large.spfs.yaml',
        `api: spfs/v0/runspec\nlayers:\n${'- demo/twin-0\n'.repeat(700_000)}`,
      );
      await refuses(large, /large\.spfs\.yaml has 9800\d{3} bytes: a spec file has at most 1048576\nnext: /);
      const lists = Array.from({ length: 9 }, (_, at) => `l${at + 1}: &l${at + 1} [${`*l${at},`.repeat(9)}]\n`);
      const bomb = await world.write(
        'bomb.spfs.yaml',
        `api: spfs/v0/runspec\nl0: &l0 [x]\n${lists.join('')}layers: *l9\n`,
      );
      await refuses(bomb, /bomb\.spfs\.yaml:\d+: there are more than \d+ aliases\nnext: write the values out/);
    });

    it('a folder without one, a fifo, a socket, a device', async () => {
      await world.write('folder/other.yaml', '');
      await execa('mkfifo', [path('fifo.spfs.yaml')]);
      const server = createServer().listen(path('socket.spfs.yaml'));
      await refuses(path('folder'), /the directory \S+\/folder has no layer\.spfs\.yaml\nnext: make one, or name/);
      await refuses(path('fifo.spfs.yaml'), /\/fifo\.spfs\.yaml is a named pipe\nnext: name a spec file/);
      await refuses(path('socket.spfs.yaml'), /\/socket\.spfs\.yaml is a socket\nnext: name a spec file/);
      await refuses('/dev/zero', /\/dev\/zero is a character device\nnext: name a spec file/);
      server.close();
    });
  });

  it('a stack when erofs-snapshotter does not run', async () => {
    await world.daemon.stop();
    try {
      const { exitCode, stderr } = await world.trySpfs(['run', 'demo/twin-0', '--', 'true']);
      expect(stderr).toMatch(/^spfs: erofs-snapshotter does not answer: [^\n]*\nnext: start erofs-snapshotter$/);
      expect(exitCode).toBe(125);
      expect(await world.runLeases()).toEqual([]);
    } finally {
      await world.daemon.start();
    }
    expect(await world.spfs('cat', 'demo/twin-0', 'number')).toMatch(/^\d+$/);
  });

  it('a stack when containerd does not run', async () => {
    await world.containerd.stop();
    try {
      await refuses(
        'demo/twin-0',
        /^spfs: containerd does not answer at [^\n]*\nnext: start containerd, or name its socket/,
      );
    } finally {
      await world.containerd.start();
    }
    expect(await world.spfs('cat', 'demo/twin-0', 'number')).toMatch(/^\d+$/);
  });
});
