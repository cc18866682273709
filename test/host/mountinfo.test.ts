import { expect, test } from 'vitest';
import { parseMountInfo } from '../../src/host/mounts.js';

test('mountinfo lines are read with optional fields, escapes and both kinds of options', () => {
  const text = [
    '36 35 98:0 /mnt1 /mnt2\\040and\\134more rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue',
    '22 1 0:5 / /proc rw - proc proc rw',
    '',
  ].join('\n');
  expect(parseMountInfo(text)).toEqual([
    {
      target: '/mnt2 and\\more',
      type: 'ext3',
      source: '/dev/root',
      root: '/mnt1',
      follows: true,
      options: ['rw', 'noatime', 'rw', 'errors=continue'],
    },
    { target: '/proc', type: 'proc', source: 'proc', root: '/', follows: false, options: ['rw', 'rw'] },
  ]);
});
