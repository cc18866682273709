import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/package.js';

const table = await readFile(join(import.meta.dirname, 'README.md'), 'utf8');
const rows = [...table.matchAll(/^\| (\d+)\. .*? \| (test\/\S+) +\| (.+?) +\|$/gm)].map(
  ([, number = '', file = '', title = '']) => ({ number: Number(number), file, title }),
);

it('every invariant of the design has a test', () => {
  const numbers = [...new Set(rows.map(({ number }) => number))];
  expect(numbers).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
});

it.each(rows)('$number: "$title" stands in $file', async ({ file, title }) => {
  expect(await readFile(join(packageRoot(), file), 'utf8')).toContain(title);
});
