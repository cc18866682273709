import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { makeTemporaryFolder } from '../../src/host/index.js';
import { temporaryFolder } from './temporary.js';

it('a temporary folder stays while its process runs, and is removed by the next command when that was killed', async () => {
  const folder = await temporaryFolder();
  vi.stubEnv('TMPDIR', folder);
  onTestFinished(() => void vi.unstubAllEnvs());
  const own = basename(await makeTemporaryFolder('guest'));
  const [, namespace = '', start = ''] = /^erofs-snapshotter-guest-(\d+)-\d+-(\d+)-\w{6}$/.exec(own) ?? [];
  const name = (...owner: readonly (string | number)[]) => `erofs-snapshotter-guest-${owner.join('-')}-AbCd12`;
  const stays = [
    own,
    'erofs-snapshotter-AbCd12',
    'somebody-elses',
    // Its processes cannot be seen from here.
    name(1, process.pid, 1),
  ];
  const goes = [
    // Another process had the id before this one.
    name(namespace, process.pid, Number(start) - 1),
    // Beyond the largest id that Linux gives.
    name(namespace, 4_194_305, 1),
  ];
  for (const each of [...stays, ...goes]) await mkdir(join(folder, each), { recursive: true });
  await writeFile(join(folder, goes[0] ?? '', 'initramfs.cpio'), '');
  const second = basename(await makeTemporaryFolder('module'));
  expect((await readdir(folder)).sort()).toEqual([...stays, second].sort());
});
