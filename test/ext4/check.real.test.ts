import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFile, mkdir, mkdtemp, open, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { checkGuestExt4 } from '../../src/ext4/index.js';
import { run } from '../../src/host/index.js';
import { onlyPrograms } from '../diff/search-path.js';
import { requires } from '../harness/requires.js';
import { debugfs, hostileImages, soundImage } from './hostile-images.js';

const deadlineMs = 60_000;

requires('mkfs.ext4')('an ext4 that a guest wrote is judged in user space', () => {
  let folder: string;
  let image: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-check-'));
    image = join(folder, 'rwlayer.img');
    await soundImage(image);
  });
  afterEach(() => rm(folder, { recursive: true }));

  const check = (quiesced = false) =>
    checkGuestExt4({ image, deadlineMs, ...(quiesced ? { copy: join(folder, 'copy') } : {}) });

  it('a sound one passes, also when it says errors=panic, or the clock of its guest is ahead', async () => {
    await check(true);
    const ahead = Math.floor(Date.now() / 1000) + 400 * 24 * 3600;
    await debugfs(
      image,
      'set_super_value errors 3',
      `set_super_value mtime @${ahead}`,
      `set_super_value wtime @${ahead}`,
    );
    await check();
    await check(true);
  });

  it.each(hostileImages)('one $what is refused: $refused', async ({ make, refused }) => {
    await make(image);
    await expect(check()).rejects.toMatchObject({ code: refused, facts: { path: image } });
    await expect(check(true)).rejects.toMatchObject({ code: refused });
    expect(await readdir(folder)).toEqual(['rwlayer.img']);
  });

  it('is not called damaged where e2fsck is missing', async () => {
    await onlyPrograms(['prlimit']);
    await expect(check()).rejects.toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('e2fsck') as string,
    });
    await expect(check(true)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('an e2fsck that does not end is killed', async () => {
    const bin = join(folder, 'bin');
    await mkdir(bin);
    await writeFile(join(bin, 'e2fsck'), '#!/bin/sh\nsleep 600\n', { mode: 0o755 });
    const path = process.env['PATH'];
    process.env['PATH'] = `${bin}:${path}`;
    try {
      await expect(checkGuestExt4({ image, deadlineMs: 100 })).rejects.toMatchObject({
        code: 'deadline-exceeded',
      });
    } finally {
      process.env['PATH'] = path;
    }
  });
});

requires(
  'root',
  'loop',
  'ext4',
  'mkfs.ext4',
)('copies of a disk that is in use', () => {
  it('are sound once their journals are replayed, with files that were deleted while they were open', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-live-'));
    const [image, target] = [join(folder, 'live.img'), join(folder, 'live')];
    const opened = [];
    try {
      await soundImage(image);
      await mkdir(target);
      await run('mount', ['-o', 'loop,errors=continue,commit=1', image, target], { deadlineMs });
      try {
        const copies = process.env['TEST_ALL'] === '1' ? 22 : 4;
        for (let copy = 0; copy < copies; copy += 1) {
          for (let file = 0; file < 50; file += 1) {
            await writeFile(join(target, 'upper', `made-${copy}-${file}`), 'x'.repeat(1000 * file));
            if (file % 3 === 0) await rm(join(target, 'upper', `made-${copy}-${file}`));
          }
          const gone = join(target, 'upper', `gone-${copy}`);
          await writeFile(gone, 'y'.repeat(100_000));
          opened.push(await open(gone, 'r'));
          await rm(gone);
          await run('sync', ['--file-system', target], { deadlineMs });
          const torn = join(folder, `copy-${copy}.img`);
          await copyFile(image, torn);
          const before = await readFile(torn);
          await checkGuestExt4({ image: torn, copy: join(folder, 'metadata'), deadlineMs });
          expect((await readFile(torn)).equals(before)).toBe(true);
          await checkGuestExt4({ image: torn, deadlineMs });
          await rm(torn);
        }
      } finally {
        for (const file of opened) await file.close();
        await run('umount', [target], { deadlineMs });
      }
    } finally {
      await rm(folder, { recursive: true });
    }
  });
});

requires(
  'root',
  'loop',
  'mkfs.ext4',
)('an ext4 that a host has mounted is in use, and no journal is replayed in it', () => {
  let folder: string;
  let image: string;
  let device: string;
  beforeEach(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-check-'));
    image = join(folder, 'rwlayer.img');
    await soundImage(image);
    await mkdir(join(folder, 'mounted'));
    device = (await run('losetup', ['--find', '--show', image], { deadlineMs, what: 'attaching' })).stdout.trim();
  });
  afterEach(async () => {
    await run('losetup', ['--detach', device], { deadlineMs, what: 'detaching' });
    await rm(folder, { recursive: true });
  });

  const refused = { code: 'failed-precondition', message: expect.stringContaining('in use') as string };

  it.each([
    ['in the mount namespace of the daemon', [], () => [device]],
    ['there, by a device that can only be read', [], () => ['-o', 'loop,ro', image]],
    ['in another one', ['unshare', '--mount'], () => [device]],
  ])('%s', async (_where, inside, what) => {
    await vi.waitFor(() => checkGuestExt4({ image, deadlineMs }), { timeout: 20_000 });
    const script = 'mount "$@" && echo mounted && read line; umount "$0"';
    const target = join(folder, 'mounted');
    const args = [...inside, 'sh', '-c', script, target, ...what(), target];
    const holder = spawn('env', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    const ended = once(holder, 'exit');
    try {
      expect(String(await once(holder.stdout, 'data'))).toBe('mounted\n');
      await expect(checkGuestExt4({ image, deadlineMs })).rejects.toMatchObject(refused);
      await checkGuestExt4({ image, copy: join(folder, 'copy'), deadlineMs });
    } finally {
      holder.stdin.end();
      await ended;
    }
    // Programs that look at all devices, udev's above all, may have this one open for a moment.
    await vi.waitFor(() => checkGuestExt4({ image, deadlineMs }), { timeout: 20_000 });
  });
});
