import { randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { describe, expect, it } from 'vitest';
import { gzipSync } from 'node:zlib';
import { makePipe, run } from '../../src/host/index.js';
import { confirmWhole, decompress, type DecompressOptions } from '../../src/diff/decompress.js';
import { nodeDecoder } from '../../src/diff/strict-decoder.js';
import { isCode, CodedError } from '../../src/errors.js';
import { temporaryFolder } from '../host/temporary.js';
import { gzipMembers } from './apply-world.js';
import { onlyPrograms, programOnPath } from './search-path.js';

/** Large enough for a program to be started, and no two megabytes alike. */
const data = Buffer.concat([randomBytes(700_000), Buffer.alloc(3_000_000, 'a layer '), randomBytes(700_000)]);
const packed = gzipSync(data);
const more = randomBytes(300_000);

/** Like igzip 2.30 and pigz 2.6, which exit with 0 whatever follows a member. */
const careless = 'gzip -dcq; [ $? -ne 1 ]';

async function unpacked(blob: Buffer, o: Partial<DecompressOptions> = {}): Promise<Buffer> {
  const folder = await temporaryFolder();
  const path = join(folder, 'blob');
  await writeFile(path, blob);
  const { reader, writer } = makePipe();
  const options: DecompressOptions = {
    source: { path, size: blob.length },
    compression: 'gzip',
    output: writer,
    limit: { bytes: 2 ** 40, error: () => new CodedError('invalid-argument', 'larger than allowed') },
    deadlineMs: 60_000,
    signal: new AbortController().signal,
    ...o,
  };
  const read = buffer(createReadStream('', { fd: reader.move() }));
  const [ended] = await Promise.allSettled([decompress(options).finally(() => writer.close()), read]);
  if (ended.status === 'rejected') throw ended.reason;
  const output = await read;
  await confirmWhole(options, output.length);
  return output;
}

const refusal = (message: RegExp) =>
  expect.toSatisfy((error) => isCode(error, 'invalid-argument') && message.test(error.message)) as Error;

const badByte = (blob: Buffer, position: number) => {
  const copy = Buffer.from(blob);
  copy[position] = (copy[position] ?? 0) ^ 0x10;
  return copy;
};

const broken: Readonly<Record<string, Buffer>> = {
  'cut in the middle': packed.subarray(0, packed.length / 2),
  'cut before its last byte': packed.subarray(0, packed.length - 1),
  'with a wrong checksum': badByte(packed, packed.length - 6),
  'with a wrong length': badByte(packed, packed.length - 2),
  'with a changed byte': badByte(packed, packed.length >> 1),
  'followed by random bytes': Buffer.concat([packed, randomBytes(100)]),
  'followed by zeros': Buffer.concat([packed, Buffer.alloc(512)]),
  'followed by one byte': Buffer.concat([packed, Buffer.from('G')]),
  'followed by the beginning of a header': Buffer.concat([packed, Buffer.from([0x1f, 0x8b])]),
  'with garbage between two members': Buffer.concat([packed, Buffer.from('garbage'), gzipSync(more)]),
  'with a second member that is cut': Buffer.concat([packed, gzipSync(more).subarray(0, 100_000)]),
};

describe.each(['no program', 'igzip', 'pigz', 'a careless program'])('gzip, decompressed by %s', (tool) => {
  /** A program that is not installed is replaced by what stands for it everywhere. */
  const useTool = async () => {
    const installed = (await programOnPath(tool)) !== undefined;
    if (installed) await onlyPrograms([tool]);
    else await onlyPrograms(['gzip'], tool === 'no program' ? {} : { igzip: careless });
  };

  it('gives the bytes that were compressed, of one member and of several', async () => {
    await useTool();
    expect((await unpacked(packed)).equals(data)).toBe(true);
    const several = gzipMembers(data, Buffer.alloc(0), more, Buffer.alloc(0));
    expect((await unpacked(several)).equals(Buffer.concat([data, more]))).toBe(true);
  });

  it.each(Object.entries(broken))('refuses a layer %s, and says where', async (_title, blob) => {
    await useTool();
    await expect(unpacked(blob)).rejects.toThrow(refusal(/not sound gzip: .*\d+ bytes in, \d+ bytes out/));
  });

  it('stops when it is cancelled', async () => {
    await useTool();
    const reason = new CodedError('cancelled', 'enough');
    const cancelled = new AbortController();
    setTimeout(() => cancelled.abort(reason), 100);
    const endless = Buffer.concat(Array<Buffer>(2000).fill(gzipSync(Buffer.alloc(1_000_000))));
    await expect(unpacked(endless, { signal: cancelled.signal })).rejects.toBe(reason);
  });
});

describe('gzip', () => {
  it('is read to its end when a member begins across the border of two parts', async () => {
    await onlyPrograms([]);
    for (const shift of [1, 2, 5, 9, 10]) {
      const rest = 1024 * 1024 - shift;
      const first = gzipSync(randomBytes(rest - 2000));
      // A name in the header makes the member exactly as long as wanted.
      const named = withName(first, rest - first.length);
      expect(named.length).toBe(rest);
      expect((await unpacked(Buffer.concat([named, gzipSync(more)]))).subarray(-more.length).equals(more)).toBe(true);
    }
  });
});

describe('a program that fails on a sound layer without saying why', () => {
  it('is not taken for a malformed layer', async () => {
    await onlyPrograms([], { igzip: 'echo "error encountered while writing" >&2; exit 1' });
    const wrong = unpacked(packed);
    await expect(wrong).rejects.toMatchObject({ code: 'internal' });
    await expect(wrong).rejects.toThrow(/sound gzip, and yet .*error encountered while writing/);
  });
});

/** The same member with a file name of `bytes - 1` characters and its zero. */
function withName(member: Buffer, bytes: number): Buffer {
  const header = Buffer.from(member.subarray(0, 10));
  header[3] = 0x08;
  return Buffer.concat([header, Buffer.alloc(bytes - 1, 0x6e), Buffer.alloc(1), member.subarray(10)]);
}

/** node:zlib reads zstd from Node.js 22.15 on. */
const zstdReaders = ['zstd', ...(nodeDecoder('zstd') ? ['no program'] : [])];

describe('zstd', () => {
  const zstdOf = async (bytes: Uint8Array): Promise<Buffer> => {
    const folder = await temporaryFolder();
    await writeFile(join(folder, 'in'), bytes);
    await run('zstd', ['-q', join(folder, 'in'), '-o', join(folder, 'out')], { deadlineMs: 60_000 });
    return readFile(join(folder, 'out'));
  };
  const skippable = Buffer.concat([Buffer.from('502a4d1804000000', 'hex'), Buffer.from('note')]);

  it('is refused with advice where nothing reads it', async () => {
    const blob = Buffer.concat([Buffer.from('28b52ffd', 'hex'), Buffer.alloc(100)]);
    await onlyPrograms([]);
    const expected = nodeDecoder('zstd') ? 'invalid-argument' : 'failed-precondition';
    await expect(unpacked(blob, { compression: 'zstd' })).rejects.toMatchObject({ code: expected });
  });

  it.each(zstdReaders)('gives the bytes of frames and skips skippable ones, by %s', async (tool) => {
    const blob = Buffer.concat([await zstdOf(data), skippable, await zstdOf(more), skippable]);
    const garbage = Buffer.concat([blob, randomBytes(20)]);
    await onlyPrograms(tool === 'zstd' ? ['zstd'] : []);
    expect((await unpacked(blob, { compression: 'zstd' })).equals(Buffer.concat([data, more]))).toBe(true);
    for (const bad of [garbage, blob.subarray(0, blob.length - 1), blob.subarray(0, 500_000)]) {
      await expect(unpacked(bad, { compression: 'zstd' })).rejects.toThrow(refusal(/not sound zstd/));
    }
  });
});
