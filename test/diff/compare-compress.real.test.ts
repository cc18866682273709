import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { compressedByProgram } from '../../src/diff/compare/compress.js';
import { run, unmount } from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from '../host/temporary.js';

const deadlineMs = 30_000;
const mebibyte = Buffer.alloc(1 << 20);

async function* zeros(mebibytes: number) {
  for (let at = 0; at < mebibytes; at += 1) yield await Promise.resolve(mebibyte);
}

requires('root')('a layer that a program compresses', () => {
  test('stops while 64 MiB are still free on a small disk, and leaves no file there', async () => {
    const folder = join(await temporaryFolder(), 'disk');
    await mkdir(folder);
    await run('mount', ['-t', 'tmpfs', '-o', 'size=120m', 'erofs-snapshotter-test', folder], { deadlineMs });
    onTestFinished(() => unmount(folder));
    const { signal } = new AbortController();
    const o = { temporary: (name: string) => join(folder, name), deadlineMs, signal };
    const taken = async (mebibytes: number) => {
      let bytes = 0;
      for await (const part of compressedByProgram(zeros(mebibytes), o)) bytes += part.length;
      return bytes;
    };
    expect(await taken(10)).toBeGreaterThan(100);
    await expect(taken(100)).rejects.toMatchObject({ code: 'resource-exhausted', facts: { path: folder } });
    expect(await readdir(folder)).toEqual([]);
  });
});
