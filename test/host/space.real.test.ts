import { open, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { CodedError } from '../../src/errors.js';
import {
  asCodedError,
  freeBytes,
  makeFolder,
  requireFreeBytes,
  SpaceReserve,
  run,
  unmount,
  writeFileDurably,
} from '../../src/host/index.js';
import { requires } from '../harness/requires.js';
import { temporaryFolder } from './temporary.js';

const deadlineMs = 30_000;

async function tinyFilesystem(options = 'size=64k'): Promise<string> {
  const folder = await temporaryFolder();
  await run('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', folder], { deadlineMs });
  onTestFinished(() => unmount(folder));
  return folder;
}

requires('root')('a full disk', () => {
  test('fails a durable write with path and free bytes, and leaves nothing', async () => {
    const folder = await tinyFilesystem();
    const path = join(folder, 'record');
    const writing = writeFileDurably(path, Buffer.alloc(128 * 1024));
    await expect(writing).rejects.toMatchObject({
      code: 'resource-exhausted',
      message: `writing ${path} failed: no disk space is left at ${path}, where 65536 bytes are free`,
      facts: { path, freeBytes: 65536 },
    });
    expect(await readdir(folder)).toEqual([]);
    await writeFileDurably(path, 'small enough');
  });

  test('is not promised twice to work that runs at once, and small work leaves as much as it takes', async () => {
    const folder = await tinyFilesystem('size=1m');
    const space = new SpaceReserve();
    const hold = (kilobytes: number, work = () => Promise.resolve()) =>
      space.holding(folder, kilobytes * 1024, 'a test', work);
    await hold(512);
    await expect(hold(513)).rejects.toMatchObject({
      code: 'resource-exhausted',
      message: expect.stringContaining('a test needs') as unknown,
    });
    await hold(300, async () => {
      await hold(300);
      await expect(hold(400)).rejects.toMatchObject({ code: 'resource-exhausted' });
    });
    await hold(400);
  });

  test('is told from an open file too, when its path is given', async () => {
    const folder = await tinyFilesystem();
    const file = await open(join(folder, 'file'), 'w');
    const error: unknown = await file.writeFile(Buffer.alloc(128 * 1024)).catch((reason: unknown) => reason);
    await file.close();
    expect(asCodedError(error, 'unpacking', join(folder, 'gone', 'file'))).toMatchObject({
      code: 'resource-exhausted',
      facts: { freeBytes: 0 },
    });
    expect(asCodedError(error, 'unpacking').message).toBe('unpacking failed: no disk space is left');
  });

  test('is told when a folder is made, and so is a read-only filesystem (both were ENOENT)', async () => {
    const full = join(await tinyFilesystem('nr_inodes=1'), 'a', 'b');
    await expect(makeFolder(full, 0o700)).rejects.toMatchObject({ code: 'resource-exhausted' });
    const readOnly = join(await tinyFilesystem('ro'), 'a', 'b');
    await expect(makeFolder(readOnly, 0o700)).rejects.toThrow(/read-only file system/);
  });

  test('is seen in what a tool says', async () => {
    const folder = await tinyFilesystem();
    await expect(run('cp', ['/bin/sh', folder], { deadlineMs })).rejects.toMatchObject({ code: 'resource-exhausted' });
  });

  test('is seen before writing', async () => {
    const folder = await tinyFilesystem();
    expect(await freeBytes(folder)).toBe(64 * 1024);
    await requireFreeBytes(folder, 64 * 1024, 'the layer');
    await expect(requireFreeBytes(folder, 64 * 1024 + 1, 'the layer')).rejects.toMatchObject({
      code: 'resource-exhausted',
      message: `the layer needs 65537 bytes at ${folder}, where 65536 are free`,
    });
  });
});

test('other errors keep their cause, and our own stay what they are', async () => {
  const own = new CodedError('not-found', 'x');
  expect(asCodedError(own, 'working')).toBe(own);
  const error: unknown = await writeFile('/no/such/file', '').catch((reason: unknown) => reason);
  expect(asCodedError(error, 'working')).toMatchObject({
    code: 'internal',
    facts: { path: '/no/such/file' },
    cause: error,
  });
});
