import { closeSync, openSync, readSync } from 'node:fs';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { isWritable, makePipeDescriptors } from '../../src/host/libc.js';
import { LogOutput } from '../../src/host/log-output.js';

const lost = (lines: number) => `lost ${lines}\n`;
const kilobyte = `${'x'.repeat(1023)}\n`;

let reader: number;
let writer: number;
const open = new Set<number>();
beforeEach(() => {
  [reader, writer] = makePipeDescriptors();
  for (const fd of [reader, writer]) open.add(fd);
});
afterEach(() => open.forEach((fd) => close(fd)));

function close(fd: number): void {
  if (open.delete(fd)) closeSync(fd);
}

/** What is in the pipe, whose writing end is closed for it. */
function readAll(): string {
  const parts: string[] = [];
  const buffer = Buffer.alloc(65_536);
  for (let bytes = read(buffer); bytes > 0; bytes = read(buffer)) parts.push(buffer.toString('utf8', 0, bytes));
  return parts.join('');
}

function read(buffer: Buffer): number {
  return readSync(reader, buffer);
}

test('a reader that has stopped blocks nothing; what waits is bounded, and how much is missing stands in its place', () => {
  const output = new LogOutput(writer, lost);
  for (let line = 0; line < 2000; line += 1) output.write(kilobyte);
  expect(isWritable(writer)).toBe(false);
  let got = '';
  const buffer = Buffer.alloc(65_536);
  while (!got.endsWith('last\n')) {
    got += buffer.toString('utf8', 0, read(buffer));
    output.write(got.includes('lost') ? 'last\n' : 'more\n');
  }
  const kept = got.split(kilobyte).length - 1;
  expect(kept).toBeGreaterThan(256);
  expect(kept).toBeLessThan(512);
  const [, missing, after] = /^lost (\d+)\n((?:more\n)*(?:last\n)+)$/.exec(got.slice(kept * 1024)) ?? [];
  expect(after).toBeDefined();
  expect(Number(missing)).toBeGreaterThanOrEqual(2000 - kept);
});

test('a line longer than a pipe takes at once comes whole and unmixed', () => {
  const output = new LogOutput(writer, lost);
  const long = `${'y'.repeat(100_000)}\n`;
  output.write(long);
  output.write('next\n');
  let got = '';
  const buffer = Buffer.alloc(65_536);
  while (got.length < long.length + 5) {
    got += buffer.toString('utf8', 0, read(buffer));
    output.write('');
  }
  expect(got).toBe(`${long}next\n`);
});

test('a reader that is gone makes writing no error', () => {
  close(reader);
  const output = new LogOutput(writer, lost);
  for (let line = 0; line < 1000; line += 1) output.write(kilobyte);
});

test('a full disk makes writing no error, and what was lost is told once there is space', () => {
  const full = openSync('/dev/full', 'w');
  open.add(full);
  const output = new LogOutput(full, lost);
  for (let line = 0; line < 3; line += 1) output.write(kilobyte);
  // The same descriptor, behind which there is space again.
  close(full);
  const again = openSync(`/proc/self/fd/${writer}`, 'w');
  open.add(again);
  expect(again).toBe(full);
  output.write('after\n');
  for (const fd of [again, writer]) close(fd);
  expect(readAll()).toBe('lost 3\nafter\n');
});
