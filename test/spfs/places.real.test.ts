import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkLiveLayers, checkWorkingFolder } from '../../src/spfs/places.js';
import type { Mount } from '../../src/vocabulary.js';
import { directory, file, makeLayer } from '../erofs/images.js';
import { requires } from '../harness/requires.js';

requires('mkfs.erofs')('before anything boots', () => {
  let folder: string;
  let stack: readonly Mount[];

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    const source = await makeLayer(folder, 'layer', [
      directory('.'),
      directory('dir'),
      file('file', 'x'),
      { name: 'link', type: 'symlink', linkname: 'dir' },
      { name: 'absolute', type: 'symlink', linkname: '/spfs/dir' },
      { name: 'out', type: 'symlink', linkname: '/etc' },
      { name: 'up', type: 'symlink', linkname: '../etc' },
      { name: 'loop', type: 'symlink', linkname: 'loop' },
    ]);
    stack = [{ type: 'erofs', source, target: '', options: ['ro', 'loop'] }];
    for (const path of ['game/repo/have/x', 'game/repo/file', 'game/assets/x', 'game/one', 'other/x']) {
      await mkdir(dirname(join(folder, path)), { recursive: true });
      await writeFile(join(folder, path), '');
    }
    await symlink('have', join(folder, 'game/repo/link'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** Live layers as `file: source destination, …`, of which each is a file of its own. */
  function layers(...texts: readonly string[]) {
    return texts.map((text) => {
      const [name = '', ...binds] = text.split(/: |, /);
      const pairs = binds.map((bind) => bind.split(' '));
      return {
        file: `/${name}.spfs.yaml`,
        binds: pairs.map(([source = '', to = '']) => ({
          source: join(folder, source),
          destination: join('/spfs', to),
        })),
      };
    });
  }

  async function check(...texts: readonly string[]) {
    const warnings: string[] = [];
    await checkLiveLayers({ liveLayers: layers(...texts), stack }, (warning) => warnings.push(warning));
    return warnings;
  }

  it.each([
    [
      'a folder over a folder, a file over a file, and places that the stack has not',
      'a: game/repo dir, game/one file, game/one new/deep',
    ],
    ['the whole of /spfs', 'a: game/repo .'],
    ['a way through a symlink that stays', 'a: game/repo link/new, game/one absolute/new'],
    ['a folder in a live layer that has a folder there', 'a: game/repo g, game/assets g/have'],
    ['a file in a live layer that has a file there', 'a: game/repo g, game/one g/file'],
    ['a place in a live layer that is hidden by another one', 'a: game/repo g', 'b: other g', 'c: game/one g/x'],
  ])('says nothing of %s', async (_, ...texts) => {
    expect(await check(...texts)).toEqual([]);
  });

  it.each([
    ['is a symlink there, in the stack', 'a: game/repo link'],
    ['is a symlink there, in the stack', 'a: game/one loop'],
    ['is a file there, and a folder is bound, in the stack', 'a: game/repo file'],
    ['is a folder there, and a file is bound, in the stack', 'a: game/one dir'],
    ['has no folder on its way', 'a: game/repo file/below'],
    ['leaves /spfs by a symlink to /etc', 'a: game/repo out/new'],
    ['leaves /spfs by a symlink', 'a: game/repo up/new'],
    ['is a symlink there, in the live layer /a.spfs.yaml', 'a: game/repo g, game/assets g/link'],
    ['is a file there, and a folder is bound, in the live layer', 'a: game/repo g, game/assets g/file'],
    ['has no folder on its way', 'a: game/repo g, game/assets g/file/x'],
    ['which is read-only and has no DIR/game/repo/new', 'a: game/repo g', 'b: game/assets g/new'],
  ])('tells that a destination %s: %s', async (message, ...texts) => {
    const error: unknown = await check(...texts).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'failed-precondition', next: expect.any(String) as string });
    expect((error as Error).message.replaceAll(folder, 'DIR')).toContain(message);
  });

  it('warns when the folder of a live layer lacks the place of its own other folder, as in the documentation', async () => {
    const [warning, ...more] = await check('a: game/repo game, game/assets game/assets');
    expect([warning?.replaceAll(folder, 'DIR'), more]).toEqual([
      expect.stringMatching(
        /^\/a\.spfs\.yaml: \/spfs\/game\/assets is shown though .* make DIR\/game\/repo\/assets to/,
      ),
      [],
    ]);
  });

  describe('the working directory', () => {
    const go = (cwd: string, root?: readonly Mount[]) =>
      checkWorkingFolder(cwd, { liveLayers: layers('a: game/repo new/g'), stack, root });

    it.each([
      '/',
      '/spfs',
      '/spfs/dir',
      'spfs/dir/',
      '/spfs/link',
      '/spfs/new',
      '/spfs/new/g/have',
      '/tmp',
      '/proc/self',
    ])('%s exists', async (cwd) => {
      await go(cwd);
    });

    it.each([
      ['/no', 'does not exist'],
      ['/spfs/no', 'does not exist'],
      ['/spfs/file', 'is no folder'],
      ['/spfs/new/g/no', 'does not exist'],
      ['/spfs/new/g/file', 'is no folder'],
      ['/spfs/file/x', 'is no folder'],
    ])('%s %s', async (cwd, message) => {
      await expect(go(cwd)).rejects.toMatchObject({
        code: 'invalid-argument',
        message: expect.stringContaining(`the working directory ${cwd} ${message}`) as string,
      });
    });

    it('of an image is looked for there', async () => {
      await go('/dir', stack);
      await expect(go('/tmp', stack)).rejects.toMatchObject({ code: 'invalid-argument' });
      await go('/link/', stack);
    });
  });
});
