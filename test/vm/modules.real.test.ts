import { execFile } from 'node:child_process';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';
import { gzipSync } from 'node:zlib';

import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { busybox, guestKernel } from '../../scripts/rig/kernel.js';
import { packageRoot } from '../../src/package.js';
import { runInGuest } from '../../scripts/rig/run-in-guest.js';
import { findGuestKernel } from '../../src/vm/index.js';
import { readModules } from '../../src/vm/modules.js';
import { temporaryFolder } from '../host/temporary.js';
import { requires } from '../harness/requires.js';
import { makeSnapshotFiles, type SnapshotFiles } from './snapshot-files.js';

const exec = promisify(execFile);
const kernelFolder = join(packageRoot(), '.tools', 'kernel');

async function compressedBy(program: string, args: readonly string[], path: string): Promise<Buffer> {
  const options = { encoding: 'buffer', maxBuffer: 64 * 1024 * 1024 } as const;
  return (await exec(program, [...args, path], options)).stdout;
}

const compressions: Readonly<Record<string, (path: string) => Promise<Buffer>>> = {
  // As the kernel's own build does it: scripts/Makefile.modinst.
  '.xz': (path) => compressedBy('xz', ['--check=crc32', '--lzma2=dict=1MiB', '--stdout'], path),
  '.zst': (path) => compressedBy('zstd', ['-T0', '--quiet', '--stdout'], path),
  '.gz': async (path) => gzipSync(await readFile(path)),
  '': (path) => readFile(path),
};

requires(
  'guest-kernel',
  'xz',
  'zstd',
)('modules of a guest kernel as distributions install them', () => {
  let names: readonly string[];
  let release: string;
  beforeAll(async () => {
    names = (await readFile(join(kernelFolder, 'modules.order'), 'utf8')).trim().split('\n');
    release = (await readFile(join(kernelFolder, 'version'), 'utf8')).trim();
  });

  /** A folder like /lib/modules/<release>, with these compressions in turn; each module needs the one before it. */
  async function installed(suffixes: readonly string[]): Promise<string> {
    const folder = join(await temporaryFolder(), release);
    await mkdir(join(folder, 'kernel'), { recursive: true });
    const paths: string[] = [];
    for (const [index, name] of names.entries()) {
      const suffix = suffixes[index % suffixes.length]!;
      await writeFile(
        join(folder, 'kernel', `${name}${suffix}`),
        await compressions[suffix]!(join(kernelFolder, 'modules', name)),
      );
      paths.push(`kernel/${name}${suffix}`);
    }
    const lines = paths.map((path, index) => `${path}: ${paths[index - 1] ?? ''}\n`);
    await writeFile(join(folder, 'modules.dep'), lines.join(''));
    return folder;
  }

  const found = (modules: string) => findGuestKernel({ kernel: guestKernel.vmlinuz, modules });

  it.each(Object.keys(compressions))('are the same as .ko%s', async (suffix) => {
    const modules = await readModules(await found(await installed([suffix])));
    expect(modules.map(({ name }) => name).sort()).toEqual([...names].sort());
    for (const { name, content } of modules) {
      expect(content.equals(await readFile(join(kernelFolder, 'modules', name))), name).toBe(true);
    }
  });

  describe('are refused, by name, when one', () => {
    async function readOne(name: string, content: Buffer | string): Promise<unknown> {
      const path = join(await temporaryFolder(), name);
      await writeFile(path, content);
      return await readModules({ vmlinuz: guestKernel.vmlinuz, modules: [path] }).catch((error: unknown) => error);
    }
    const says = (code: string, message: RegExp, next: RegExp) => ({
      code,
      message: expect.stringMatching(message) as unknown,
      next: expect.stringMatching(next) as unknown,
    });

    it('is compressed in another way', async () => {
      expect(await readOne('erofs.ko.lz4', 'x')).toMatchObject(
        says(
          'failed-precondition',
          /erofs\.ko\.lz4 .* ends in \.lz4, and .*\.ko, \.ko\.gz, \.ko\.xz and/,
          /decompress it/,
        ),
      );
    });

    it.each(['.xz', '.zst', '.gz'])('is cut off: .ko%s', async (suffix) => {
      const whole = await compressions[suffix]!(join(kernelFolder, 'modules', names[0]!));
      const error = await readOne(`a.ko${suffix}`, whole.subarray(0, whole.length - 100));
      expect(error).toMatchObject(
        says('data-loss', /a\.ko\.\w+ .* is damaged: it cannot be decompressed/, /install the/),
      );
    });

    it('is no module', async () => {
      expect(await readOne('a.ko', '<html>')).toMatchObject(says('data-loss', /a\.ko .* holds no ELF file/, /install/));
    });

    it.each([
      ['.xz', 'xz'],
      ['.zst', 'zstd'],
    ])('needs a program that is not installed: .ko%s', async (suffix, program) => {
      vi.stubEnv('PATH', await temporaryFolder());
      try {
        const error = await readOne(`a.ko${suffix}`, 'x');
        expect(error).toMatchObject(says('unavailable', new RegExp(`needs the program ${program}`), /^install /));
      } finally {
        vi.unstubAllEnvs();
      }
    });
  });

  requires(
    'mkfs.erofs',
    'mkfs.ext4',
    'qemu',
  )('in a guest', () => {
    let snapshots: SnapshotFiles;
    beforeAll(async () => {
      snapshots = await makeSnapshotFiles();
    });
    afterAll(() => snapshots.remove());

    it('are loaded, each compressed in another way', async () => {
      const kernel = await found(await installed(['.xz', '.zst', '.gz', '']));
      const script = 'cat etc/kept; cut -d " " -f 1 /proc/modules';
      const options = { kernel, busybox, timeoutMs: 90_000 };
      const result = await runInGuest({
        ...options,
        disks: { mounts: snapshots.view },
        argv: ['/bin/sh', '-c', script],
      });
      const [file, ...loaded] = result.output.toString().trim().split('\n');
      const wanted = names.map((name) => basename(name, '.ko'));
      expect([file, loaded.sort(), result.exitCode]).toEqual(['kept', wanted.sort(), 0]);
    });
  });
});
