import { describe, expect, it } from 'vitest';
import { TarCheck, type TarFindings } from '../../src/diff/tar-check.js';
import { isCode } from '../../src/errors.js';
import { brokenTars, soundTars } from './layers.js';
import { tar, type Entry } from './tar-builder.js';

function check(bytes: Buffer, chunkBytes = bytes.length): TarFindings {
  const tarCheck = new TarCheck();
  for (let at = 0; at < bytes.length; at += chunkBytes) tarCheck.push(bytes.subarray(at, at + chunkBytes));
  return tarCheck.finish();
}

/** As a reader that jumps over the content of files. */
function checkHeaders(bytes: Buffer): TarFindings {
  const tarCheck = new TarCheck();
  for (let at = 0; at < bytes.length;) {
    const skipped = Math.min(tarCheck.skippable, bytes.length - at);
    tarCheck.skip(skipped);
    at += skipped;
    const part = bytes.subarray(at, at + 512);
    tarCheck.push(part);
    at += part.length;
  }
  return tarCheck.finish();
}

describe('the check of a tar', () => {
  it.each(Object.entries(soundTars))('lets pass a tar with %s, however it is cut', (_title, bytes) => {
    const findings = check(bytes);
    for (const chunkBytes of [1, 511, 513, 4096]) expect(check(bytes, chunkBytes)).toEqual(findings);
    expect(checkHeaders(bytes)).toEqual(findings);
  });

  it.each(Object.entries(brokenTars))('refuses %s, however it is cut', (_title, [bytes, message]) => {
    const refusal = expect.toSatisfy(
      (error) => isCode(error, 'invalid-argument') && message.test(error.message),
    ) as Error;
    for (const chunkBytes of [bytes.length, 1, 511, 513]) expect(() => check(bytes, chunkBytes)).toThrow(refusal);
    expect(() => checkHeaders(bytes)).toThrow(refusal);
  });

  it('says where the archive ends, so that entries can be added there', () => {
    const entries = tar({ name: 'a', data: 'x' });
    const trailing = Buffer.concat([entries, Buffer.alloc(512 * 7)]);
    expect(check(trailing).end).toBe(1024);
    expect(check(trailing.subarray(0, 1024)).end).toBe(1024);
    expect(check(trailing.subarray(0, 1536)).end).toBe(1024);
  });

  it('keeps only the names of folders that no entry describes, wherever the description stands', () => {
    const folder = (name: string) => ({ name, type: '5' });
    const names = (...entries: readonly Entry[]) => check(tar(...entries)).missingFolders;
    expect(names({ name: 'a/b/c' })).toEqual(['a', 'a/b']);
    expect(names({ name: 'a/b/c' }, folder('a/'), folder('./a/b'))).toEqual([]);
    expect(names(folder('/a'), folder('a/b/'), { name: 'a/b/c' })).toEqual([]);
    expect(names({ name: 'a/.wh.b', data: '' })).toEqual(['a']);
  });

  it.each([['./'], ['.'], ['/'], ['.//.']])('knows whether the root is described (%s)', (name) => {
    expect(check(tar({ name: 'a/', type: '5' })).describesRoot).toBe(false);
    expect(check(tar({ name: 'a/', type: '5' }, { name, type: '5' })).describesRoot).toBe(true);
  });

  it('forgets a folder that a later entry replaces or removes, so that it does not come back', () => {
    const names = (...entries: readonly Entry[]) => check(tar(...entries)).missingFolders;
    expect(names({ name: 'a/b/c' }, { name: 'a/b', data: 'a file now' })).toEqual(['a']);
    expect(names({ name: 'a/b/c' }, { name: '.wh.a' })).toEqual([]);
    expect(names({ name: 'a/b/c' }, { name: '.wh.a' }, { name: 'a/b/c' })).toEqual(['a', 'a/b']);
  });
});
