import { randomBytes } from 'node:crypto';
import { readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { expect, it } from 'vitest';
import { CodedError } from '../../src/errors.js';
import { requires } from '../harness/requires.js';
import { fromSource } from '../harness/from-source.js';
import { temporaryFolder } from '../host/temporary.js';
import { applyWorld, digestOf, gzip } from './apply-world.js';
import { onlyPrograms, programOnPath } from './search-path.js';
import { tar } from './tar-builder.js';

/** Large enough for a program to decompress it, and for pipes to fill; random, so that compressing does not change that. */
const file = tar({ name: 'file', data: randomBytes(8 * 1024 * 1024) });
const blob = gzipSync(file, { level: 1 });
const leadsOut = tar({ name: '../out', data: 'x' });
/** Ends like a sound tar, except for what its last entry is. */
const brokenAtItsEnd = gzipSync(Buffer.concat([file.subarray(0, -1024), leadsOut]), { level: 1 });
const brokenAtItsBeginning = gzipSync(Buffer.concat([leadsOut.subarray(0, -1024), file]), { level: 1 });

interface Failing {
  readonly content: Buffer;
  /** Those that can be found. */
  readonly decompressors?: readonly string[];
  /** MKFS stands for the real mkfs.erofs, SMALL for a sound tar. */
  readonly programs?: Readonly<Record<string, string>>;
  readonly digest?: string;
  readonly abortAfterMs?: number;
  readonly code: string;
  readonly message: RegExp;
}

const failing: Readonly<Record<string, Failing>> = {
  'a tar that is wrong at its beginning': {
    content: brokenAtItsBeginning,
    code: 'invalid-argument',
    message: /leads upwards/,
  },
  'a tar that is wrong at its end': { content: brokenAtItsEnd, code: 'invalid-argument', message: /leads upwards/ },
  'a blob that is cut': {
    content: blob.subarray(0, blob.length / 2),
    code: 'invalid-argument',
    message: /not sound gzip/,
  },
  'a blob that is another one': {
    content: blob,
    digest: digestOf(Buffer.from('another')),
    code: 'data-loss',
    message: /was expected/,
  },
  'an mkfs.erofs that reads nothing': {
    content: blob,
    programs: { 'mkfs.erofs': 'echo no >&2; exit 1' },
    code: 'internal',
    message: /exit code 1.*: no$/,
  },
  'an mkfs.erofs that stops reading': {
    content: blob,
    programs: { 'mkfs.erofs': 'head -c 100000 >/dev/null; echo enough >&2; exit 1' },
    code: 'internal',
    message: /exit code 1.*: enough$/,
  },
  'an mkfs.erofs that fails, of a tar that is wrong at its end': {
    content: brokenAtItsEnd,
    programs: { 'mkfs.erofs': 'echo no >&2; exit 1' },
    code: 'invalid-argument',
    message: /leads upwards/,
  },
  'a disk that is full while mkfs.erofs writes': {
    content: blob,
    programs: { 'mkfs.erofs': 'head -c 100000 >/dev/null; echo "No space left on device" >&2; exit 1' },
    code: 'resource-exhausted',
    message: /no disk space is left at .*, where \d+ bytes are free/,
  },
  'a decompressor that is killed': {
    content: blob,
    programs: { igzip: 'kill -9 $$' },
    code: 'internal',
    message: /igzip was killed by SIGKILL/,
  },
  'an mkfs.erofs that ends well and has read nothing': {
    content: blob,
    programs: { 'mkfs.erofs': 'PATH=/usr/bin:/bin exec MKFS "$@" < SMALL' },
    code: 'internal',
    message: /before it had read the whole tar/,
  },
  'an mkfs.erofs that is killed': {
    content: blob,
    programs: { 'mkfs.erofs': 'kill -9 $$' },
    code: 'internal',
    message: /mkfs\.erofs was killed by SIGKILL while converting layer sha256:/,
  },
  'a tar that is wrong at its end, without a program that decompresses': {
    content: brokenAtItsEnd,
    decompressors: [],
    code: 'invalid-argument',
    message: /leads upwards/,
  },
  'an Apply that is cancelled while all wait': {
    content: blob,
    programs: { 'mkfs.erofs': 'exec sleep 60' },
    abortAfterMs: 300,
    code: 'cancelled',
    message: /cancelled/,
  },
};

const descriptors = () => readdir('/proc/self/fd');
const mkfs = async () => (await programOnPath('mkfs.erofs')) ?? 'mkfs.erofs';

async function usePrograms({ decompressors = ['igzip', 'pigz'], programs = {} }: Partial<Failing>): Promise<void> {
  const small = join(await temporaryFolder(), 'small.tar');
  await writeFile(small, tar({ name: 'x', data: 'x' }));
  const real = await mkfs();
  const own = { 'mkfs.erofs': 'PATH=/usr/bin:/bin exec MKFS "$@"', ...programs };
  const scripts = Object.entries(own).map(([name, script]) => [
    name,
    script.replace('MKFS', real).replace('SMALL', small),
  ]);
  await onlyPrograms([...decompressors, 'head', 'sleep'], Object.fromEntries(scripts) as Record<string, string>);
}

requires('mkfs.erofs')('a layer that flows from one program to the other', () => {
  it.each(Object.entries(failing))('tells of %s, and leaves no file and no descriptor', async (_title, o) => {
    const world = await applyWorld();
    // What is made once for the whole process is there from now on.
    await world.apply(gzipSync(tar({ name: 'x', data: 'x' })), { mediaType: gzip });
    const before = await descriptors();
    await usePrograms(o);
    const controller = new AbortController();
    if (o.abortAfterMs !== undefined) setTimeout(() => controller.abort(), o.abortAfterMs);
    const failed: unknown = await world
      .apply(o.content, { mediaType: gzip, signal: controller.signal, ...(o.digest ? { digest: o.digest } : {}) })
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(CodedError);
    expect((failed as CodedError).code).toBe(o.code);
    expect((failed as CodedError).message).toMatch(o.message);
    expect((await world.leftovers()).filter((name) => name.startsWith('.tmp'))).toEqual([]);
    expect((await descriptors()).length).toBeLessThanOrEqual(before.length);
  });

  it('ends when its differ is closed, and leaves no file', async () => {
    const world = await applyWorld();
    await usePrograms({ programs: { 'mkfs.erofs': 'exec sleep 60' } });
    const applied = world.apply(blob, { mediaType: gzip });
    const told = expect(applied).rejects.toMatchObject({ code: 'cancelled' });
    setTimeout(() => void world.differ.close(), 300);
    await told;
    expect(await world.leftovers()).toEqual([]);
  });

  it.each([
    ['the decompressor', { programs: { igzip: 'exec sleep 60' } }],
    ['mkfs.erofs', { programs: { 'mkfs.erofs': 'exec sleep 60' } }],
    [
      'mkfs.erofs, and nothing but Node decompresses',
      { decompressors: [], programs: { 'mkfs.erofs': 'exec sleep 60' } },
    ],
  ])('does not keep the process from ending while it waits for %s', async (_title, programs) => {
    const path = join(await temporaryFolder(), 'blob');
    await writeFile(path, blob);
    await usePrograms(programs);
    const child = [join(import.meta.dirname, 'memory-child.ts'), path, gzip, '2500'];
    const { exitCode } = await execa(process.execPath, [...fromSource, ...child], {
      reject: false,
      timeout: 20_000,
    });
    expect(exitCode).toBe(7);
  });
});
