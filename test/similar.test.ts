import { expect, test } from 'vitest';
import { similarTo } from '../src/similar.js';

const known = ['base', 'base-2', 'shows/base', 'shows/x/platform', 'platform', 'a', 'ab', 'zlib'];

test.for<[string, string[]]>([
  ['bsae', ['base']], // two letters exchanged are two edits
  ['bas', ['base', 'base-2']],
  ['base', ['base', 'base-2', 'shows/base']],
  ['Base', ['base']],
  ['plat', ['platform']],
  ['studio/platform', ['platform']],
  ['shows/', ['shows/base', 'shows/x/platform']],
  ['b', ['base', 'base-2']], // not a and ab: half of the letters at the most may be wrong
  ['quite-another', []],
  ['', []],
])('%j may have been meant as %j', ([text, wanted]) => {
  expect(similarTo(text, known)).toEqual(wanted);
});

test('the likeliest come first, and no more than asked for', () => {
  const many = Array.from({ length: 20 }, (_, at) => `tag-${at}`);
  expect(similarTo('tag-7', many, 3)[0]).toBe('tag-7');
  expect(similarTo('tag-7', many, 3).length).toBe(3);
});
