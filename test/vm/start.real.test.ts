import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable, Writable } from 'node:stream';

import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest';

import { busybox, guestKernel } from '../../scripts/rig/kernel.js';
import { type GuestRunOptions, startGuest } from '../../src/vm/index.js';
import { requires } from '../harness/requires.js';

/** Keeps what it is given. */
class Kept extends Writable {
  readonly chunks: Buffer[] = [];
  #notify: () => void = () => undefined;

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.chunks.push(chunk);
    done();
    this.#notify();
  }

  bytes(): Buffer {
    return Buffer.concat(this.chunks);
  }

  async until(text: string): Promise<void> {
    while (!this.bytes().includes(text)) await new Promise<void>((resolve) => (this.#notify = resolve));
  }
}

requires(
  'root',
  'qemu',
  'guest-kernel',
  'virtiofsd',
)('a guest that was started', () => {
  let folder: string;
  let temporary: string;

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    temporary = join(folder, 'tmp');
    await mkdir(temporary);
    vi.stubEnv('TMPDIR', temporary);
  });
  afterEach(async () => {
    expect(await processesOfGuests()).toEqual([]);
    expect(await readdir(temporary)).toEqual([]);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true });
  });

  function options(script: string, stdout: Writable, more: Partial<GuestRunOptions> = {}): GuestRunOptions {
    const streams = { stdin: undefined, stdout, stderr: new Kept() };
    const argv = ['sh', '-c', script];
    return { argv, streams, root: 'minimal', kernel: guestKernel, busybox, timeoutMs: 90_000, ...more };
  }

  /** Command lines of the processes that were given a file of this suite's temporary folder. */
  async function processesOfGuests(): Promise<readonly string[]> {
    const ids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
    const lines = await Promise.all(ids.map((id) => readFile(`/proc/${id}/cmdline`, 'utf8').catch(() => '')));
    return lines.filter((line) => line.includes(temporary));
  }

  it('hands 20 MB from its input to its output, byte for byte, and beside it standard error', async () => {
    const bytes = randomBytes(20_000_000);
    const [stdout, stderr] = [new Kept(), new Kept()];
    const pieces = Array.from({ length: 20 }, (_, index) => bytes.subarray(index * 1_000_000, (index + 1) * 1_000_000));
    const streams = { stdin: Readable.from(pieces), stdout, stderr };
    const guest = await startGuest(options('cat; echo ended >&2; exit 7', stdout, { streams }));
    const { exitCode } = await guest.ended;
    expect(stdout.bytes().equals(bytes)).toBe(true);
    expect([stderr.bytes().toString(), exitCode]).toEqual(['ended\n', 7]);
  });

  it('shows a live folder and a live file, read-only, as they change, until a signal ends its command', async () => {
    const [shared, file] = [join(folder, 'shared'), join(folder, 'file')];
    await mkdir(shared);
    await writeFile(join(shared, 'a'), 'in the folder\n');
    await writeFile(file, 'the file\n');
    const stdout = new Kept();
    const script = `cat /spfs/dir/a /spfs/one
      for path in /spfs/dir/new /spfs/one /spfs/new; do (echo x >$path) 2>/dev/null && echo "$path is writable"; done
      echo looking
      until grep -q changed /spfs/one && [ -e /spfs/dir/b ]; do sleep 0.1; done
      echo seen; exec sleep 1000`;
    const liveBinds = [
      { source: shared, destination: '/spfs/dir' },
      { source: file, destination: '/spfs/one' },
    ];
    const guest = await startGuest(options(script, stdout, { stack: { mounts: [] }, liveBinds }));
    await Promise.race([stdout.until('looking'), guest.ended]);
    await writeFile(file, 'it was changed\n');
    await writeFile(join(shared, 'b'), '');
    await Promise.race([stdout.until('seen'), guest.ended]);
    guest.kill('SIGTERM');
    expect((await guest.ended).exitCode).toBe(143);
    expect(stdout.bytes().toString()).toBe('in the folder\nthe file\nlooking\nseen\n');
    expect(await readdir(shared)).toEqual(['a', 'b']);
  });

  it('leaves no process and no file when it is aborted', async () => {
    const abort = new AbortController();
    const stdout = new Kept();
    const liveBinds = [{ source: folder, destination: '/spfs' }];
    const { signal } = abort;
    const guest = await startGuest(
      options('echo up; exec sleep 1000', stdout, { stack: { mounts: [] }, liveBinds, signal }),
    );
    await Promise.race([stdout.until('up'), guest.ended]);
    const before = await processesOfGuests();
    abort.abort();
    await expect(guest.ended).rejects.toMatchObject({ code: 'cancelled' });
    expect(before).toEqual(
      expect.arrayContaining([expect.stringMatching(/^qemu-system-/), expect.stringContaining('--socket-path=')]),
    );
  });

  it('tells of a kernel that panics, also to callers that wait for the start', async () => {
    const broken = join(folder, 'not-busybox');
    await writeFile(broken, 'no program');
    const guest = await startGuest(options('true', new Kept(), { busybox: broken, accelerator: 'tcg' }));
    await expect(guest.started).rejects.toMatchObject({
      code: 'internal',
      message: expect.stringContaining('Kernel panic') as string,
    });
    await expect(guest.ended).rejects.toMatchObject({ code: 'internal' });
  });

  it('names the kernel that is not there', async () => {
    const kernel = { ...guestKernel, vmlinuz: join(folder, 'absent') };
    const ended = startGuest(options('true', new Kept(), { kernel, accelerator: 'tcg' })).then((guest) => guest.ended);
    await expect(ended).rejects.toThrow(kernel.vmlinuz);
  });
});
