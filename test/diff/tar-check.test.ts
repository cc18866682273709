import { describe, expect, it } from 'vitest';
import { TarCheck, type TarFindings } from '../../src/diff/tar-check.js';
import { TarFolders } from '../../src/diff/tar-folders.js';
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
    for (const length of [1024, 1536, 2048, trailing.length]) {
      const tarCheck = new TarCheck();
      tarCheck.push(trailing.subarray(0, length));
      expect(tarCheck.contentEnd).toBe(1024);
    }
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

describe('the folders of a tar', () => {
  const limits = { folders: 1e9, names: 1e9, implied: 1e9, impliedPaths: 1e9 };
  const refusal = (message: RegExp) =>
    expect.toSatisfy(
      (error) => isCode(error, 'invalid-argument') && message.test(error.message) && error.facts['tarOffset'] === 512,
    ) as Error;
  const deep = (first: string, depth: number) => [first, ...Array.from({ length: depth }, () => 'd')];

  it('are refused when too many are implied, before they fill the memory', () => {
    const folders = new TarFolders();
    const addAll = () => {
      for (let index = 0; index < 1000; index++) folders.add(deep(String(index), 2040), false, 512);
    };
    expect(addAll).toThrow(
      refusal(/byte 512: .* more than 67108864 bytes of paths of folders that no entry describes/),
    );
    expect(folders.missing().length).toBeLessThan(40_000);
    const many = new TarFolders();
    const addMany = () => {
      for (let index = 0; index < 200_000; index++) many.add([String(index), 'file'], false, 512);
    };
    expect(addMany).toThrow(refusal(/more than 100000 folders that no entry describes/));
  });

  it.each([
    ['folders', { folders: 2 }, /more than 2 folders$/],
    ['names', { names: 5 }, /more than 5 bytes of names of folders/],
  ])('are bounded when they are described, too (%s)', (_title, bound, message) => {
    const folders = new TarFolders({ ...limits, ...bound });
    folders.add(['aa'], true, 0);
    folders.add(['aa', 'bb'], true, 0);
    folders.add(['aa', 'bb'], false, 0);
    folders.add(['aa', 'cc'], true, 0);
    expect(() => folders.add(['aa', 'cc', 'dd'], true, 512)).toThrow(refusal(message));
  });

  it('may be half a million with a long common path, each replaced by a file, in seconds', () => {
    const folders = new TarFolders();
    const above = deep('top', 1000);
    for (let depth = 1; depth <= above.length; depth++) folders.add(above.slice(0, depth), true, 0);
    const common = above.slice(0, 20);
    for (let index = 0; index < 500_000; index++) folders.add([...common, `folder ${index}`], true, 0);
    for (let index = 0; index < 500_000; index++) folders.add([...common, `folder ${index}`], false, 0);
    expect(folders.missing()).toEqual([]);
    folders.remove(['top']);
    folders.add(['top', 'file'], false, 0);
    expect(folders.missing()).toEqual(['top']);
  }, 20_000);
});
