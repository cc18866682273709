import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse } from 'smol-toml';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { CodedError } from '../../src/errors.js';
import { packageRoot } from '../../src/package.js';
import { startWorld, type World } from '../grpc/world.js';
import { requires } from '../harness/requires.js';
import { run, startContainerd, type PrivateContainerd } from './private-containerd.js';

/** The lines of one form, as a user gets them who follows what the file says. */
async function formFor(version: 2 | 3): Promise<string> {
  const lines = (await readFile(join(packageRoot(), 'config', 'containerd-config.toml'), 'utf8')).split('\n');
  if (version === 3) return lines.filter((line) => line !== '' && !line.startsWith('#')).join('\n');
  const commented = lines.slice(lines.indexOf('#version = 2')).filter((line) => /^#[^ ]/.test(line));
  return commented.map((line) => line.slice(1)).join('\n');
}

requires('root', 'containerd')('config/containerd-config.toml', () => {
  describe.each([2, 3] as const)('in its form for version %i', (version) => {
    const mount = { type: 'erofs', source: '/x/layer.erofs', target: '', options: ['ro', 'loop'] };
    const prepare = vi.fn(() => Promise.resolve([mount]));
    let world: World;
    let containerd: PrivateContainerd;
    beforeAll(async () => {
      world = await startWorld({ snapshotter: { prepare } });
      const form = (await formFor(version))
        .replaceAll('/run/spin-stack/erofs-snapshotter.sock', world.address)
        .replaceAll('/var/lib/spin-stack/erofs-snapshotter', world.folder);
      containerd = await startContainerd(form);
    });
    afterAll(async () => {
      await containerd.close();
      await world.close();
    });

    it('gives containerd the plugins, and all that name them are ok', async () => {
      const listed = (await containerd.ctr('plugins', 'ls')).split('\n').map((line) => line.trim().split(/\s+/));
      const stateOf = (type: string, id: string) => listed.find((line) => line[0] === type && line[1] === id)?.at(-1);
      expect(stateOf('io.containerd.snapshotter.v1', 'spin-erofs')).toBe('ok');
      expect(stateOf('io.containerd.differ.v1', 'spin-erofs-diff')).toBe('ok');
      expect(stateOf('io.containerd.service.v1', 'diff-service')).toBe('ok');
      expect(stateOf('io.containerd.transfer.v1', 'local')).toBe('ok');
      expect(stateOf('io.containerd.cri.v1', 'images')).toBe('ok');
    });

    it('tells containerd where the snapshots lie', async () => {
      const details = await containerd.ctr('plugins', 'ls', '--detailed', 'id==spin-erofs');
      expect(details).toMatch(new RegExp(`root\\s+${world.folder}`));
    });

    it('is understood whole: order of differs, who unpacks, and what Kubernetes uses', async () => {
      const file = join(containerd.folder, 'as-given.toml');
      await writeFile(file, await formFor(version));
      const text = await run('containerd', ['--config', file, 'config', 'dump']);
      const { plugins } = parse(text) as { plugins: Record<string, unknown> };
      expect(plugins['io.containerd.service.v1.diff-service']).toMatchObject({
        default: ['spin-erofs-diff', 'walking'],
      });
      expect(plugins['io.containerd.transfer.v1.local']).toMatchObject({
        unpack_config: [
          { platform: 'linux', snapshotter: 'spin-erofs', differ: 'spin-erofs-diff' },
          { platform: 'linux', snapshotter: 'overlayfs', differ: 'walking' },
        ],
      });
      expect(plugins['io.containerd.cri.v1.runtime']).toMatchObject({
        containerd: { runtimes: { vm: { snapshotter: 'spin-erofs' } } },
      });
      expect(plugins['io.containerd.cri.v1.images']).toMatchObject({
        snapshotter: 'overlayfs',
        runtime_platforms: { vm: { platform: 'linux', snapshotter: 'spin-erofs' } },
      });
    });

    it('lets ctr reach the daemon through containerd', async () => {
      const snapshots = ['snapshots', '--snapshotter', 'spin-erofs'];
      const printed = await containerd.ctr(...snapshots, 'prepare', '--target', '/mnt/x', 'some-key');
      expect(printed).toContain('mount -t erofs /x/layer.erofs /mnt/x -o ro,loop');
      expect(prepare).toHaveBeenLastCalledWith(
        expect.objectContaining({ key: expect.stringMatching(/^default\/\d+\/some-key$/) as string, parent: '' }),
      );
    });

    it('carries an error and its advice, in any script, through containerd to ctr', async () => {
      prepare.mockImplementationOnce(() =>
        Promise.reject(new CodedError('resource-exhausted', 'the disk is voll 💾', { next: 'make room' })),
      );
      const call = containerd.ctr('snapshots', '--snapshotter', 'spin-erofs', 'prepare', 'other-key');
      await expect(call).rejects.toThrow('the disk is voll 💾; make room');
    });
  });
});
