import { readFile } from 'node:fs/promises';
import { describe, expect, it } from 'vitest';
import { exactTimeArguments, formatArguments, mke2fsConfig } from '../../src/ext4/args.js';

const fixture = (name: string) => readFile(new URL(`fixtures/${name}`, import.meta.url), 'utf8');

describe('the arguments of mkfs.ext4', () => {
  it('spell out every feature, so that no version and no mke2fs.conf decides', async () => {
    const args = formatArguments({ image: '/images/rwlayer.img', source: '/images/staging/tree' });
    expect(args.join('\n') + '\n').toBe(await fixture('format.argv'));
  });

  it('go with a configuration of our own', async () => {
    expect(mke2fsConfig).toBe(await fixture('mke2fs.conf'));
  });
});

describe('the time that mke2fs -d does not copy', () => {
  const extra = (mtime: bigint, mtimeNsec: number) =>
    exactTimeArguments({ image: 'image', file: 'upper', mtime, mtimeNsec })?.[2];

  it('is left alone when whole seconds of 32 bits say all', () => {
    expect(extra(0n, 0)).toBeUndefined();
    expect(extra(-(2n ** 31n), 0)).toBeUndefined();
    expect(extra(2n ** 31n - 1n, 0)).toBeUndefined();
  });

  it('has nanoseconds above the two bits that extend the seconds', () => {
    expect(extra(-1n, 999_999_999)).toBe('set_inode_field upper mtime_extra 3999999996');
    expect(extra(2n ** 31n, 0)).toBe('set_inode_field upper mtime_extra 1');
    expect(extra(2n ** 34n - 2n ** 31n - 1n, 1)).toBe('set_inode_field upper mtime_extra 7');
  });
});
