import { mkdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';

import { execa } from 'execa';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { packageRoot } from '../../src/package.js';
import { requires } from '../harness/requires.js';
import { SpfsProgram, spfsProgram, requireSoundBoot } from './spfs-program.js';
import { startWorld, type World } from './world.js';

/** What the reader of the guide has: an image of this name, of which ours takes the place, and a folder `build`. */
const images = ['docker.io/library/debian:12', 'docker.io/library/debian:13'];

/** What a line prints; a line that is not here must succeed. */
const prints: Readonly<Record<string, RegExp>> = {
  'spfs import ./build --tag show/tools': /^kind +layer$/m,
  'spfs tags': /^base\/debian +[A-Z2-7]{8} +1\nshow\/tools +[A-Z2-7]{8} +1$/,
  'spfs log show/tools': /^show\/tools~0 +[A-Z2-7]{8} +\d{4}-\d\d-\d\dT\S+ +\S+@\S+$/,
  'spfs info base/debian': /^platform:\n refs: [A-Z2-7]{8} -> base\/debian\n from: docker\.io\/library\/debian:13\n/,
  'spfs ls --long base/debian+show/tools /spfs/bin': /^-rwxr-xr-x .* tool$/m,
  'spfs cat base/debian etc/os-release': /^NAME=/m,
  'spfs run base/debian+show/tools -- ls /spfs': /^bin$/m,
  // Its input is the script below, not a keyboard.
  'spfs shell --root docker.io/library/debian:13 show/tools': /^from the shell: tools$/m,
  'spfs untag show/tools': /^removed show\/tools\ngave up [A-Z2-7]{8}$/,
};
const typed = 'echo "from the shell: $(/spfs/bin/tool)"\n';

function linesOf(document: string): string[] {
  return document.split('\n').flatMap((line) => /^ {4}(spfs .*)$/.exec(line)?.[1] ?? []);
}

requires(
  'root',
  'mkfs.erofs',
  'containerd',
  'registry',
  'demo-packages',
  'qemu',
  'guest-kernel',
)('what the guide shows', () => {
  let world: World;
  let folder: string;
  beforeAll(async () => {
    world = await startWorld();
    await world.pull();
    for (const image of images) await world.containerd.ctr(['images', 'tag', world.name, image]);
    folder = join(world.folder, 'reader');
    await mkdir(join(folder, 'build', 'bin'), { recursive: true });
    await writeFile(join(folder, 'build', 'bin', 'tool'), '#!/bin/sh\necho tools\n', { mode: 0o755 });
    await mkdir(join(folder, 'path'));
    await symlink(spfsProgram, join(folder, 'path', 'spfs'));
  });
  afterAll(() => world.close());

  describe.each([
    ['docs/spfs.md', 10],
    ['README.md', 2],
  ])('%s', (path, least) => {
    it('runs as it stands', async () => {
      const lines = linesOf(await readFile(join(packageRoot(), path), 'utf8'));
      expect(lines.length).toBeGreaterThanOrEqual(least);
      const env = {
        ...new SpfsProgram(world).environment({ SPFS_STORAGE_ROOT: join(world.folder, `spfs-${least}`) }),
        PATH: [join(folder, 'path'), process.env['PATH']].join(delimiter),
      };
      for (const line of lines) {
        const { exitCode, stdout, stderr } = await execa('sh', ['-c', line], {
          ...{ cwd: folder, env, input: typed, reject: false, timeout: 120_000 },
        });
        requireSoundBoot(stderr);
        const wanted = expect.stringMatching(prints[line] ?? /[^]*/) as unknown;
        expect({ line, exitCode, stdout, stderr }).toEqual({
          ...{ line, exitCode: 0, stdout: wanted, stderr: expect.not.stringContaining('spfs:') as unknown },
        });
      }
      if (path === 'docs/spfs.md') expect(lines).toEqual(expect.arrayContaining(Object.keys(prints)));
    });
  });
});
