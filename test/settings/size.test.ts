import { expect, test } from 'vitest';
import { formatSize, parseSize } from '../../src/settings/size.js';

test.for([
  ['1048576', 1048576],
  ['64M', 64 * 2 ** 20],
  ['64m', 64 * 2 ** 20],
  ['64MB', 64 * 2 ** 20],
  ['64MiB', 64 * 2 ** 20],
  ['10GiB', 10 * 2 ** 30],
  ['1 T', 2 ** 40],
  ['512KiB', 512 * 1024],
  ['7B', 7],
  ['0', 0],
] as const)('%s is %i bytes', ([text, bytes]) => {
  expect(parseSize(text)).toBe(bytes);
});

test.for(['', 'M', '-1', '1.5G', '64X', '64Mi', '1e9', '0x10', '64M 1', '9999999T'])('%j is no size', (text) => {
  expect(() => parseSize(text)).toThrow(`${JSON.stringify(text)} is not a size`);
});

test('a size is shown in the largest unit that is exact', () => {
  expect([formatSize(64 * 2 ** 20), formatSize(2 ** 40), formatSize(1000)]).toEqual(['64 MiB', '1 TiB', '1000 bytes']);
});
