import { randomBytes } from 'node:crypto';
import { readdir } from 'node:fs/promises';
import { gzipSync } from 'node:zlib';
import { expect, it } from 'vitest';
import { SnapshotterError } from '../../src/errors.js';
import { requires } from '../harness/requires.js';
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
  'an Apply that is cancelled while all wait': {
    content: blob,
    programs: { 'mkfs.erofs': 'exec sleep 60' },
    abortAfterMs: 300,
    code: 'cancelled',
    message: /cancelled/,
  },
};

const descriptors = () => readdir('/proc/self/fd');

requires('mkfs.erofs')('a layer that flows from one program to the other', () => {
  it.each(Object.entries(failing))('tells of %s, and leaves no file and no descriptor', async (_title, o) => {
    const world = await applyWorld();
    // What is made once for the whole process is there from now on.
    await world.apply(gzipSync(tar({ name: 'x', data: 'x' })), { mediaType: gzip });
    const before = await descriptors();
    const mkfs = (await programOnPath('mkfs.erofs')) ?? 'mkfs.erofs';
    const own = { 'mkfs.erofs': `PATH=/usr/bin:/bin exec ${mkfs} "$@"` };
    await onlyPrograms(['igzip', 'pigz', 'head', 'sleep'], { ...own, ...o.programs });
    const controller = new AbortController();
    if (o.abortAfterMs !== undefined) setTimeout(() => controller.abort(), o.abortAfterMs);
    const failed: unknown = await world
      .apply(o.content, { mediaType: gzip, signal: controller.signal, ...(o.digest ? { digest: o.digest } : {}) })
      .catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(SnapshotterError);
    expect((failed as SnapshotterError).code).toBe(o.code);
    expect((failed as SnapshotterError).message).toMatch(o.message);
    expect((await world.leftovers()).filter((name) => name.startsWith('.tmp'))).toEqual([]);
    expect((await descriptors()).length).toBeLessThanOrEqual(before.length);
  });
});
