import { existsSync } from 'node:fs';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { packageRoot } from '../../src/package.js';

const page = await readFile(join(packageRoot(), 'docs/architecture.md'), 'utf8');

/** The names in the first column of the table that begins with `head`. */
function firstColumn(head: string): string[] {
  const from = page.slice(page.indexOf(`| ${head} `));
  const rows = from.slice(0, from.indexOf('\n\n')).split('\n').slice(2);
  return rows.map((row) => row.split('|')[1]!.replaceAll('`', '').trim());
}

async function foldersIn(path: string): Promise<string[]> {
  const entries = await readdir(join(packageRoot(), path), { withFileTypes: true });
  return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
}

test('docs/architecture.md names files that exist, and nine of them on the way of a layer', () => {
  const named = [...page.matchAll(/`((?:[\w-]+\/)+[\w-]+\.ts)`/g)].map(([, file]) => file!);
  const missing = named.filter((file) => !existsSync(join(packageRoot(), file.startsWith('src/') ? '' : 'src', file)));
  expect(missing).toEqual([]);
  expect(firstColumn('stage')).toHaveLength(9);
});

test('docs/architecture.md names every room and every inner room', async () => {
  const rooms = await foldersIn('src');
  const commands = (await foldersIn('cmd')).map((name) => `cmd/${name}`);
  expect(firstColumn('room').sort()).toEqual([...rooms, ...commands].sort());
  const inner = await Promise.all(
    rooms.map(async (room) => (await foldersIn(`src/${room}`)).map((name) => `${room}/${name}`)),
  );
  const code = inner.flat().filter((name) => name !== 'vm/guest' && name !== 'protocol/generated');
  expect(firstColumn('inner room').sort()).toEqual(code.sort());
});
