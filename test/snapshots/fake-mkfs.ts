import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { onTestFinished } from 'vitest';

/**
 * Puts a program named mkfs.erofs before the real one on PATH until the test ends. Every call is counted.
 *
 * @param script shell lines; `real "$@"` runs the real tool, `first` is true in the first call, `$output` is the image it shall
 *   write, `$merging` is empty unless it merges
 */
export async function fakeMkfs(script: string): Promise<{ calls: () => Promise<readonly string[]> }> {
  const folder = await mkdtemp(join(tmpdir(), 'erofs-snapshotter-fake-'));
  const before = process.env['PATH'] ?? '';
  const calls = join(folder, 'calls');
  const bin = join(folder, 'bin');
  await mkdir(bin);
  await writeFile(calls, '');
  const lines = [
    '#!/bin/sh',
    `echo "$*" >> '${calls}'`,
    // By the log, which every call writes before anything else: a call killed at any later point still was the first.
    `first() { [ "$(wc -l < '${calls}')" -eq 1 ]; }`,
    `real() { PATH='${before}' mkfs.erofs "$@"; }`,
    'merging=; output=',
    'for word in "$@"; do',
    '  case $word in --ovlfs-strip=1) merging=yes ;; *.erofs) [ -n "$output" ] || output=$word ;; esac',
    'done',
    script,
  ];
  await writeFile(join(bin, 'mkfs.erofs'), `${lines.join('\n')}\n`);
  await chmod(join(bin, 'mkfs.erofs'), 0o755);
  process.env['PATH'] = `${bin}${delimiter}${before}`;
  onTestFinished(async () => {
    process.env['PATH'] = before;
    await rm(folder, { recursive: true, force: true });
  });
  return { calls: async () => (await readFile(calls, 'utf8')).split('\n').filter((line) => line !== '') };
}
