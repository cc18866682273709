import { appendFile, open, rename, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it, onTestFinished, vi } from 'vitest';
import { follow } from '../../src/diff/ahead/follow.js';
import { isCode } from '../../src/errors.js';
import { temporaryFolder } from '../host/temporary.js';

/** A file of which `first` is there, followed until it has `size` bytes. */
async function following(first: string, size: number) {
  const folder = await temporaryFolder();
  const path = join(folder, 'data');
  await writeFile(path, first);
  const file = await open(path, 'r');
  onTestFinished(() => file.close());
  const controller = new AbortController();
  const parts: string[] = [];
  const write = (part: Uint8Array) => {
    parts.push(Buffer.from(part).toString());
    return Promise.resolve();
  };
  const end = follow({ file, size }, write, controller.signal);
  // How it ended is asked for later.
  end.catch(() => undefined);
  const text = () => parts.join('');
  const taken = (expected: string) => vi.waitFor(() => expect(text()).toBe(expected));
  return { folder, path, controller, end, text, taken };
}

it('a file that grows is handed on as it arrives, and no further than it was said to be long', async () => {
  const { path, end, text, taken } = await following('one ', 11);
  await taken('one ');
  await appendFile(path, 'two ');
  await taken('one two ');
  await appendFile(path, 'three');
  await end;
  expect(text()).toBe('one two thr');
});

it('a file is the same file when it is renamed while it grows', async () => {
  const { folder, path, end, text, taken } = await following('one ', 7);
  await taken('one ');
  await rename(path, join(folder, 'blob'));
  await appendFile(join(folder, 'blob'), 'two');
  await end;
  expect(text()).toBe('one two');
});

it('a file that is written again from its beginning is followed from where it was', async () => {
  const { path, end, text, taken } = await following('one ', 7);
  await taken('one ');
  await truncate(path, 0);
  await appendFile(path, 'one two');
  await end;
  expect(text()).toBe('one two');
});

it('a file that is removed before it is whole is not waited for', async () => {
  const { path, end, taken } = await following('one ', 7);
  await taken('one ');
  await rm(path);
  await expect(end).rejects.toSatisfy(
    (error) => isCode(error, 'unavailable') && /given up after 4/.test(error.message),
  );
});

it('a file that is not wanted any more is not waited for', async () => {
  const { controller, end, taken } = await following('one ', 7);
  await taken('one ');
  const reason = new Error('not wanted');
  controller.abort(reason);
  await expect(end).rejects.toBe(reason);
});

it('what cannot be handed on ends it', async () => {
  const folder = await temporaryFolder();
  await writeFile(join(folder, 'data'), 'one');
  const file = await open(join(folder, 'data'), 'r');
  onTestFinished(() => file.close());
  const refused = new Error('no room');
  const end = follow({ file, size: 7 }, () => Promise.reject(refused), new AbortController().signal);
  await expect(end).rejects.toBe(refused);
});
