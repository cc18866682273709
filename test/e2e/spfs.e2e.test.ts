import { mkdir, readdir, symlink } from 'node:fs/promises';
import { join } from 'node:path';

import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { LayerTar } from '../../scripts/rig/layer-tar.js';
import { LayoutWriter } from '../../scripts/rig/oci-layout.js';
import { pushImage } from '../../scripts/rig/push.js';
import { requires } from '../harness/requires.js';
import { spfsProgram } from './spfs-program.js';
import { spfsNeeds, startSpfsWorld, type SpfsWorld } from './spfs-world.js';

requires(...spfsNeeds)('spfs', () => {
  let world: SpfsWorld;
  let second: string;

  beforeAll(async () => {
    world = await startSpfsWorld();
    await world.pull();
    const { files, write, spfs } = world;
    second = await secondImage();
    await write('directory/where', 'first directory\n');
    await write('newer/where', 'second directory\n');
    await write('live/now', 'live\n');
    await write('live/layer.spfs.yaml', 'api: spfs/v0/livelayer\ncontents:\n  - bind: now\n    dest: /spfs/now\n');
    await spfs('import', world.name, '--tag', 'demo/image');
    await spfs('import', second, '--tag', 'demo/second');
    await spfs('import', join(files, 'directory'), '--tag', 'demo/directory');
    await spfs('import', join(files, 'newer'), '--tag', 'demo/directory');
  });
  afterAll(() => world.close());

  async function secondImage(): Promise<string> {
    const folder = join(world.folder, 'second');
    await mkdir(folder);
    const layout = new LayoutWriter(folder);
    await layout.open();
    const layer = new LayerTar(join(world.folder, 'second.tar'));
    await layer.file('where', 'second image\n');
    await layer.file('only-second', 'only in the second image\n');
    const image = await layout.finish('second', [await layer.finish(layout, 'gzip')]);
    const name = await pushImage(image, world.registry.host, 'second', 'latest');
    await world.containerd.ctr(['images', 'pull', '--plain-http', '--snapshotter', 'spin-erofs', name]);
    return name;
  }

  const snapshots = () => world.ctrSpfs('snapshots', '--snapshotter', 'spin-erofs', 'ls');

  it('runs a command in nested run specs, digests, tags, older versions and a live layer', async () => {
    const [{ digest }] = JSON.parse(await world.spfs('info', 'demo/second', '--json')) as [{ digest: string }];
    const inner = await world.write('inner.spfs.yaml', `api: spfs/v0/runspec\nlayers: [${digest}, demo/directory~1]\n`);
    const outer = await world.write('outer.spfs.yaml', `api: spfs/v0/runspec\nlayers: [demo/image, ${inner}]\n`);
    const script = 'cat /spfs/where /spfs/only-second /spfs/etc/image-id /spfs/now; cat; echo aside >&2; exit 7';
    const result = await world.trySpfs(
      ['run', `${outer}+${join(world.files, 'live')}`, '--', 'sh', '-c', script],
      {},
      'input\n',
    );
    expect(result.stdout).toBe('first directory\nonly in the second image\ndemo\nlive\ninput');
    expect(result.stderr).toBe('aside');
    expect(result.exitCode).toBe(7);
    expect(await world.runLeases()).toEqual([]);
  });

  it('lists and prints files, without a mount', async () => {
    expect(await world.spfs('cat', 'demo/image+demo/directory', 'where', 'etc/image-id')).toBe(
      'second directory\ndemo',
    );
    expect((await world.spfs('ls', 'demo/second')).split('\n')).toEqual(['only-second', 'where']);
    expect(await world.runLeases()).toEqual([]);
  });

  it('shows history, objects and what would be used', async () => {
    expect((await world.spfs('log', 'demo/directory')).split('\n')).toHaveLength(2);
    expect(await world.spfs('info', 'demo/image')).toMatch(/^platform:\n refs: [A-Z2-7]{8} -> demo\/image\n/);
    const mounts = JSON.parse(await world.spfs('run', 'demo/image', '--print', 'mounts', '--json')) as {
      stack: unknown;
    };
    expect(mounts.stack).toMatchObject([{ type: 'format/erofs' }]);
    const chain = JSON.parse(await world.spfs('run', 'demo/image', '--print', 'chain', '--json')) as { chain: string };
    expect(chain.chain).toBe(world.chain.at(-1));
    expect(await world.spfs('run', 'demo/image', '--print', 'qemu')).toContain('qemu-system-');
    expect(await world.runLeases()).toEqual([]);
  });

  it.each(['tags', 'cat demo/second where'])('does not mind a reader that stops: %s', async (line) => {
    const script = `"${spfsProgram}" ${line} | true; echo "\${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await execa('bash', ['-c', script], { env: world.environment() });
    expect([stdout, stderr]).toEqual(['0', '']);
  });

  describe('refuses, with a next step, and leaves nothing:', () => {
    it.each([
      [
        'an unknown tag',
        ['run', 'demo/imagge', '--', 'true'],
        /there is no tag demo\/imagge; similar: demo\/image\nnext: /,
      ],
      ['a version that is not there', ['run', 'demo/image~5', '--', 'true'], /there is no ~5\nnext: /],
      ['an unknown image', ['import', 'example.org/none:1', '--tag', 'x'], /containerd has no image/],
      ['a tag for nothing', ['tag', 'nothing', 'demo/other'], /there is no tag nothing/],
      ['a path that is not there', ['cat', 'demo/second', 'nope'], /demo\/second has no nope/],
      ['editing', ['run', '--edit', 'demo/image', '--', 'true'], /--edit is for a later version/],
    ])('%s', async (_, args, message) => {
      const result = await world.trySpfs(args);
      expect([result.exitCode, result.stderr]).toEqual([125, expect.stringMatching(message)]);
      expect(await world.runLeases()).toEqual([]);
    });

    it('a run spec that includes itself, and a live layer that escapes', async () => {
      const self = join(world.files, 'self.spfs.yaml');
      await world.write('self.spfs.yaml', `api: spfs/v0/runspec\nlayers: [${self}]\n`);
      await world.write('escape/layer.spfs.yaml', 'api: spfs/v0/livelayer\ncontents: [{bind: out, dest: x}]\n');
      await symlink('/etc', join(world.files, 'escape/out'));
      for (const path of [self, join(world.files, 'escape')]) {
        const result = await world.trySpfs(['run', path, '--', 'true']);
        expect([result.exitCode, result.stderr]).toEqual([125, expect.stringContaining('next: ')]);
      }
    });

    it('a containerd that is not there', async () => {
      const more = { CONTAINERD_ADDRESS: join(world.folder, 'none.sock') };
      const result = await world.trySpfs(['untag', 'demo/image'], more);
      expect([result.exitCode, result.stderr]).toEqual([125, expect.stringMatching(/does not answer.*\nnext: start/s)]);
      expect(await world.spfs('tags', 'demo/image')).toContain('demo/image');
    });

    it('mistakes of usage, with another exit code', async () => {
      for (const args of [['run', 'demo/image'], ['nonsense'], ['commit']]) {
        expect((await world.trySpfs(args)).exitCode).toBe(2);
      }
    });
  });

  it('keeps chains while they are tagged, and gives them up with the last tag', async () => {
    await world.ctrSpfs('content', 'prune', 'references').catch(() => undefined);
    for (const name of world.chain) expect(await snapshots()).toContain(name);
    await world.spfs('untag', 'demo/image', 'demo/second', 'demo/directory');
    expect((await snapshots()).trim().split('\n')).toHaveLength(1);
    expect(await world.ctrSpfs('leases', 'ls', '-q')).toBe('');
    expect((await readdir(join(world.root, 'snapshots'))).length).toBeGreaterThan(0);
  });
});
