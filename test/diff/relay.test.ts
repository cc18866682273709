import { closeSync, openSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { threadErrorOf } from '../../src/thread-error.js';
import { Relay, type RelayResult } from '../../src/diff/thread/relay.js';
import { CodedError } from '../../src/errors.js';
import { temporaryFolder } from '../host/temporary.js';
import { digestOf } from './apply-world.js';
import { canonical } from './canonical.js';
import { tar } from './tar-builder.js';

const larger = new CodedError('invalid-argument', 'larger than allowed');

/** What a relay makes of these bytes, and what it hands on, also when it refuses them. */
async function relayed(bytes: Buffer, bounds: { readonly tar?: number; readonly image?: number } = {}) {
  const folder = await temporaryFolder();
  const [from, to] = [join(folder, 'from'), join(folder, 'to')];
  await writeFile(from, bytes);
  const output = openSync(to, 'w');
  const limit = (bytes = 2 ** 40) => ({ bytes, failure: threadErrorOf(larger, 'a test') });
  const relay = new Relay({ input: from, output, limits: { tar: limit(bounds.tar), image: limit(bounds.image) } });
  const state: { result?: RelayResult; refusal?: unknown } = {};
  try {
    while (relay.advance());
    state.result = relay.finish();
  } catch (error) {
    state.refusal = error;
  } finally {
    relay.close();
    closeSync(output);
  }
  return { ...state, handedOn: () => readFile(to) };
}

const part = 1024 * 1024;
/** An entry that ends at this byte. */
const entryOf = (bytes: number) => tar({ name: 'file', data: Buffer.alloc(bytes - 512, 'x') }).subarray(0, bytes);

describe('a relay', () => {
  const ends = [512, part - 512, part, part + 512, 3 * part].flatMap((end) =>
    [0, 512, 1024, 1536, part, part + 512].map((zeros) => [end, zeros] as const),
  );

  it.each(ends)('hands on %i bytes of entries and two zero blocks, with %i zeros behind them', async (end, zeros) => {
    const bytes = Buffer.concat([entryOf(end), Buffer.alloc(zeros)]);
    const { result, handedOn } = await relayed(bytes);
    const implied = { root: true, folders: false };
    expect(result).toMatchObject({ size: bytes.length, digest: digestOf(bytes), implied, isRead: true, isOdd: false });
    expect(result?.handedOn.entries).toBe(2);
    const output = await handedOn();
    expect(output.subarray(512).equals(Buffer.concat([bytes.subarray(512, end), Buffer.alloc(1024)]))).toBe(true);
    expect(output.equals(canonical(bytes).bytes)).toBe(true);
  });

  it('counts the zeros that a sparse layer should not take on the disk, and no others', async () => {
    const { result } = await relayed(
      tar({ name: 'a', data: Buffer.alloc(3 * part) }, { name: 'b', data: 'x'.repeat(part) }),
    );
    expect(result?.zeroBytes).toBeGreaterThan(2 * part);
    expect(result?.zeroBytes).toBeLessThanOrEqual(3 * part);
  });

  it('hashes what follows the end of the archive, and does not hand it on', async () => {
    const bytes = Buffer.concat([entryOf(1024), Buffer.alloc(1024), Buffer.alloc(5000, 'y')]);
    const { result, handedOn } = await relayed(bytes);
    expect(result).toMatchObject({ size: bytes.length, digest: digestOf(bytes) });
    expect((await handedOn()).equals(canonical(bytes.subarray(0, 2048)).bytes)).toBe(true);
  });

  it('describes what the tar implies before its end', async () => {
    const bytes = tar({ name: 'a/b', data: 'x' });
    const { result, handedOn } = await relayed(bytes);
    expect(result?.implied).toEqual({ root: true, folders: true });
    const output = await handedOn();
    expect(output.equals(canonical(bytes).bytes)).toBe(true);
    expect(output.subarray(-1024).equals(Buffer.alloc(1024))).toBe(true);
    expect(output.subarray(1024).includes('a\0')).toBe(true);
  });

  it('hands on nothing of an entry that is refused, and no byte of what is larger than allowed', async () => {
    const sound = entryOf(part);
    const leadsOut = await relayed(Buffer.concat([sound, tar({ name: '../out', data: 'x' })]));
    expect(leadsOut.refusal).toMatchObject({
      message: expect.stringMatching(/at byte 1048576: the path "..\/out" leads upwards/) as string,
    });
    expect((await leadsOut.handedOn()).subarray(512).equals(sound.subarray(512))).toBe(true);
    const tooLarge = await relayed(Buffer.concat([sound, sound]), { tar: part });
    expect(tooLarge.refusal).toEqual(larger);
    expect((await tooLarge.handedOn()).subarray(512).equals(sound.subarray(512))).toBe(true);
  });

  it('counts what the image takes, which is more than the tar for small files', async () => {
    const small = tar(...Array.from({ length: 100 }, (_, index) => ({ name: `small-${index}`, data: 'x' })));
    expect((await relayed(small, { tar: 200_000, image: 500_000 })).result?.size).toBe(small.length);
    expect((await relayed(small, { tar: 200_000, image: 400_000 })).refusal).toEqual(larger);
  });
});
