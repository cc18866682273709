import { chmod, mkdir, mkdtemp, readdir, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Writable } from 'node:stream';

import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { busybox, guestKernel } from '../../scripts/rig/kernel.js';
import { startGuest } from '../../src/vm/index.js';
import { findVirtiofsd } from '../../src/vm/virtiofsd.js';
import { checkShares } from '../../src/vm/shares.js';
import { requires } from '../harness/requires.js';

/** A program that may stand in for virtiofsd: does something the first time that it is asked for its help, then becomes it. */
async function meddling(path: string, script: string): Promise<string> {
  await writeFile(path, `#!/bin/sh\n${script}\nexec ${await findVirtiofsd()} "$@"\n`);
  await chmod(path, 0o700);
  return path;
}

requires(
  'root',
  'guest-kernel',
  'virtiofsd',
)('a live source that is swapped between the check and the start of virtiofsd', () => {
  let folder: string;

  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    await mkdir(join(folder, 'tmp'));
    await mkdir(join(folder, 'secret'));
    await writeFile(join(folder, 'secret-file'), 'secret\n');
    await mkdir(join(folder, 'game'));
    await writeFile(join(folder, 'one'), 'one\n');
    vi.stubEnv('TMPDIR', join(folder, 'tmp'));
  });
  afterEach(async () => {
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true });
  });

  const start = (source: string, virtiofsd: string) =>
    startGuest({
      ...{ argv: ['true'], root: 'minimal', kernel: guestKernel, busybox, accelerator: 'tcg', virtiofsd },
      streams: { stdin: undefined, stdout: new Writable({ write: (_c, _e, done) => done() }), stderr: 'stdout' },
      liveBinds: [
        { source: join(folder, 'tmp'), destination: '/spfs/other' },
        { source, destination: '/spfs/live' },
      ],
    });

  it.each([
    ['a folder for a symlink', 'game', 'mv game was; ln -s secret game'],
    ['a folder for another folder', 'game', 'mv game was; mkdir game'],
    ['a folder for a file', 'game', 'mv game was; cp secret-file game'],
    ['a file for a symlink', 'one', 'mv one was; ln -s secret-file one'],
    ['a file for another file, of the same number where numbers are used again', 'one', 'rm one; cp secret-file one'],
    ['a folder for nothing', 'game', 'mv game was'],
    ['the folder around it for a symlink', 'game/inner', 'mv game was; mkdir secret/inner; ln -s secret game'],
  ])('is not shared: %s', async (_, name, swap) => {
    const source = join(folder, name);
    if (name.includes('/')) await mkdir(source);
    const virtiofsd = await meddling(
      join(folder, 'virtiofsd'),
      `(cd ${folder} && [ ! -e was ] && ${swap}; : >was) 2>/dev/null`,
    );
    await expect(start(source, virtiofsd)).rejects.toMatchObject({
      code: 'failed-precondition',
      message: `the live source ${source} was replaced while the run began`,
    });
  });

  it('is refused when a symlink leads to it: to itself, or to a folder above it', async () => {
    await mkdir(join(folder, 'game', 'inner'));
    await symlink('game', join(folder, 'link'));
    const shares = (source: string) => checkShares([{ source: join(folder, source), destination: '/spfs/x' }]);
    await expect(shares('link/inner')).rejects.toMatchObject({ code: 'failed-precondition' });
    await expect(shares('link')).rejects.toMatchObject({ message: expect.stringContaining('is a symlink') as string });
    await expect(shares('game/inner')).resolves.toMatchObject([{ kind: 'folder' }]);
    await rename(join(folder, 'game'), join(folder, 'moved'));
    await expect(shares('game/inner')).rejects.toMatchObject({ code: 'not-found' });
  });
});
