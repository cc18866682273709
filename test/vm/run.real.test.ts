import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { PassThrough, Readable, Writable } from 'node:stream';
import { text } from 'node:stream/consumers';

import { afterAll, beforeAll, expect, it, vi } from 'vitest';

import { busybox, guestKernel } from '../../scripts/rig/kernel.js';
import { type GuestRunOptions, startGuest } from '../../src/vm/index.js';
import { findVirtiofsd } from '../../src/vm/virtiofsd.js';
import { requires } from '../harness/requires.js';

/** The one in C, where Debian 12 has it. */
const formerVirtiofsd = '/usr/lib/qemu/virtiofsd';

requires(
  'root',
  'qemu',
  'guest-kernel',
  'virtiofsd',
)('a guest with streams of its own', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-'));
    await mkdir(join(folder, 'tmp'));
    vi.stubEnv('TMPDIR', join(folder, 'tmp'));
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await rm(folder, { recursive: true });
  });

  function options(argv: readonly string[], streams: GuestRunOptions['streams']): GuestRunOptions {
    return { argv, streams, root: 'minimal', stack: { mounts: [] }, kernel: guestKernel, busybox, timeoutMs: 90_000 };
  }

  it('keeps them apart, ends the input, and gives the exit status', async () => {
    const [stdout, stderr] = [new PassThrough(), new PassThrough()];
    const guest = await startGuest(
      options(['sh', '-c', 'cat; echo wrong >&2; touch /x; touch /spfs/x 2>/dev/null || exit 3'], {
        stdin: Readable.from([Buffer.alloc(3_000_000, 'x')]),
        stdout,
        stderr,
      }),
    );
    void guest.ended.finally(() => [stdout.end(), stderr.end()]).catch(() => undefined);
    const [out, errors, result] = await Promise.all([text(stdout), text(stderr), guest.ended]);
    expect([out.length, errors, result.exitCode]).toEqual([3_000_000, 'wrong\n', 3]);
    expect(await readdir(join(folder, 'tmp'))).toEqual([]);
  });

  it.each(['the virtiofsd found', ...[formerVirtiofsd].filter(existsSync)])(
    'shows what is live as it changes: %s',
    async (which) => {
      const source = join(folder, 'live');
      await mkdir(source, { recursive: true });
      await writeFile(join(source, 'changing'), 'old\n');
      let seen = '';
      const stdout = new Writable({
        write(chunk: Buffer, _encoding, done) {
          seen += chunk.toString();
          const change =
            seen === 'ready\n' ? writeFile(join(source, 'changing'), 'new and longer\n') : Promise.resolve();
          void change.then(() => done());
        },
      });
      const script = 'echo ready; until grep new /spfs/a/b/changing; do :; done; touch /spfs/a/b/x || kill -TERM $$';
      const guest = await startGuest({
        ...options(['sh', '-c', script], { stdin: undefined, stdout, stderr: new PassThrough().resume() }),
        liveBinds: [{ source, destination: '/spfs/a/b' }],
        virtiofsd: which.startsWith('/') ? which : await findVirtiofsd(),
      });
      expect((await guest.ended).exitCode).toBe(143);
      expect(seen).toBe('ready\nnew and longer\n');
      expect(await readdir(join(folder, 'tmp'))).toEqual([]);
    },
  );
});
