import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, expect, it, vi } from 'vitest';

import { readFromExt4 } from '../../scripts/rig/ext4-file.js';
import { busybox, guestKernel } from '../../scripts/rig/kernel.js';
import { type CollectedResult, type GuestOptions, runInGuest } from '../../scripts/rig/run-in-guest.js';
import type { Mount } from '../../src/vocabulary.js';
import { requires } from '../harness/requires.js';
import { isCleanExt4, makeSnapshotFiles, type SnapshotFiles } from './snapshot-files.js';

requires(
  'mkfs.erofs',
  'mkfs.ext4',
  'qemu',
  'guest-kernel',
)('a guest from a Mounts answer', () => {
  let files: SnapshotFiles;
  let temporary: string;

  beforeAll(async () => {
    files = await makeSnapshotFiles();
    // A place of its own for temporary files, so that what is left there is left by this suite.
    temporary = join(files.folder, 'tmp');
    await mkdir(temporary);
    vi.stubEnv('TMPDIR', temporary);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await files.remove();
  });

  function run(
    mounts: readonly Mount[],
    argv: GuestOptions['argv'],
    more: Partial<GuestOptions> = {},
  ): Promise<CollectedResult> {
    return runInGuest({ disks: { mounts }, argv, kernel: guestKernel, busybox, timeoutMs: 60_000, ...more });
  }

  it('shows all layers of a merged disk, keeps what is written, and leaves ext4 clean', async () => {
    const script = 'ls -1 etc opaque; echo "$GREETING"; pwd; echo written > etc/new; echo on stderr >&2; exit 42';
    const seen: Buffer[] = [];
    const result = await run(files.active, ['/bin/sh', '-c', script], {
      env: { GREETING: "it's me" },
      onOutput: (chunk) => seen.push(chunk),
    });
    expect(result.output.toString()).toBe("etc:\nkept\n\nopaque:\nnew\nit's me\n/\non stderr\n");
    expect(Buffer.concat(seen)).toEqual(result.output);
    expect(result.exitCode).toBe(42);
    const image = files.active.at(-1)!.source;
    expect(await readFromExt4(image, '/upper/etc/new')).toBe('written\n');
    expect(await isCleanExt4(image)).toBe(true);
    console.log(`boot ${result.bootSeconds} s, whole run ${result.seconds.toFixed(1)} s, ${result.accelerator}`);
  });

  it('passes any bytes in the command and back, and finds programs of the image along PATH', async () => {
    const argument = Buffer.from(Array.from({ length: 255 }, (_, index) => index + 1));
    const result = await run(files.view, ['busybox', 'printf', '%s', argument], {
      env: { PATH: '/nowhere:/bin' },
      cwd: '/etc',
    });
    expect(result.output).toEqual(argument);
    expect(result.exitCode).toBe(0);
  });

  it('gives a View read-only, whether it is merged or comes layer by layer', async () => {
    const script = 'ls -1 /etc /opaque; touch /etc/new && echo writable; exec ls -1 / >&2';
    const [merged, apart] = [
      await run(files.view, ['sh', '-c', script]),
      await run(files.unmerged, ['sh', '-c', script]),
    ];
    expect(merged.output.toString()).toContain('Read-only file system');
    expect(merged.output.toString()).not.toContain('writable');
    expect(apart.output.toString()).toBe(merged.output.toString());
  });

  it('boots an Active snapshot that is served layer by layer', async () => {
    const writable = await files.writableLayer();
    const result = await run(
      [...files.unmerged, writable],
      ['sh', '-c', 'rm /etc/kept; echo x > /opaque/more; ls /opaque'],
    );
    expect(result.output.toString()).toBe('more\nnew\n');
    expect(await readFromExt4(writable.source, '/upper/opaque/more')).toBe('x\n');
  });

  it('answers 127 for a program the image lacks, and 128 + n for a signal', async () => {
    const absent = await run(files.view, ['absent']);
    expect([absent.exitCode, absent.output.toString()]).toEqual([
      127,
      'guest: absent: not found along PATH in the image\n',
    ]);
    expect((await run(files.view, ['sh', '-c', 'kill -TERM $$'])).exitCode).toBe(143);
  });

  it('ends what the command left behind, and still loses no output', async () => {
    const script =
      'sleep 1000 & (while :; do echo >/tmp/x; done) 2>/dev/null & yes 0123456789 | busybox head -c 3000000';
    const result = await run(
      [...files.view, await files.writableLayer()],
      ['sh', '-c', script.replace('yes', 'busybox yes')],
    );
    expect(result.output.length).toBe(3_000_000);
    expect(result.exitCode).toBe(0);
  });

  it('ends a guest that takes too long, saying so', async () => {
    await expect(run(files.view, ['busybox', 'sleep', '1000'], { timeoutMs: 6_000 })).rejects.toMatchObject({
      code: 'deadline-exceeded',
      message: expect.stringContaining('6 s') as string,
    });
    expect(await readdir(temporary)).toEqual([]);
  });

  it('ends at once when cancelled', async () => {
    const cancel = new AbortController();
    const guest = run(files.view, ['sh', '-c', 'echo up; busybox sleep 1000'], {
      signal: cancel.signal,
      onOutput: () => cancel.abort(),
    });
    await expect(guest).rejects.toMatchObject({ code: 'cancelled' });
    expect(await readdir(temporary)).toEqual([]);
  });

  it('says what did not mount when a disk is damaged', async () => {
    const damaged = join(files.folder, 'damaged.erofs');
    await writeFile(damaged, Buffer.alloc(8192));
    const mounts = [{ type: 'erofs', source: damaged, target: '', options: ['ro'] }];
    await expect(run(mounts, ['sh'])).rejects.toMatchObject({
      code: 'failed-precondition',
      message: 'the guest failed: EROFS on erofs-layer-0 does not mount',
      facts: { console: expect.stringContaining('erofs') as string },
    });
  });

  it('gives the panic when the command takes the guest down', async () => {
    const crash = ['sh', '-c', 'echo 1 > /proc/sys/kernel/sysrq; echo c > /proc/sysrq-trigger; busybox sleep 100'];
    await expect(run(files.view, crash)).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('Kernel panic') as string,
    });
  });

  it('names QEMU when it is not installed', async () => {
    const path = process.env['PATH'];
    process.env['PATH'] = files.folder;
    try {
      await expect(run(files.view, ['sh'], { accelerator: 'tcg' })).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringMatching(/^qemu-system-\w+ is not on PATH$/) as string,
      });
    } finally {
      process.env['PATH'] = path;
    }
  });
});
