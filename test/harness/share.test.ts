import { afterEach, describe, expect, it, vi } from 'vitest';
import type * as Share from './share.js';
import { chooseSeed, randomOf, runSeed } from './share.js';

const all = Array.from({ length: 100 }, (_, index) => index);

async function withSettings(settings: Record<string, string>): Promise<typeof Share> {
  for (const [name, value] of Object.entries(settings)) vi.stubEnv(name, value);
  vi.resetModules();
  return await import('./share.js');
}

afterEach(() => void vi.unstubAllEnvs());

describe('a share of a long enumeration', () => {
  it('is some of it in its order, the same for the same seed and another for another', async () => {
    const { share } = await withSettings({ TEST_ALL: '', TEST_SEED: '1' });
    const first = share(all, 10);
    expect(first).toHaveLength(10);
    expect([...first].sort((a, b) => a - b)).toEqual(first);
    expect(new Set(first).size).toBe(10);
    expect(share(all, 10)).toEqual(first);
    vi.stubEnv('TEST_SEED', '2');
    expect(share(all, 10)).not.toEqual(first);
  });

  it('is everything where there is less than was asked for', async () => {
    const { share } = await withSettings({ TEST_ALL: '', TEST_SEED: '1' });
    expect(share(all.slice(0, 3), 10)).toEqual([0, 1, 2]);
    expect(share([], 10)).toEqual([]);
  });

  it('is everything with TEST_ALL=1', async () => {
    const { share, times } = await withSettings({ TEST_ALL: '1', TEST_SEED: '1' });
    expect(share(all, 10)).toEqual(all);
    expect(times(30, 200)).toBe(200);
  });

  it('takes every item with the same chance', () => {
    const taken = all.map(() => 0);
    for (let seed = 0; seed < 2000; seed += 1) for (const item of randomOf(seed).some(all, 10)) taken[item]! += 1;
    // 200 each are expected, with a standard deviation of 13.
    expect(Math.min(...taken)).toBeGreaterThan(130);
    expect(Math.max(...taken)).toBeLessThan(270);
  });
});

describe('the seed of a run', () => {
  it('is the same for every file of the run', () => {
    expect(runSeed()).toBe(Number(process.env['TEST_SEED']));
  });

  it('is what TEST_SEED says, or one of its own', () => {
    expect(chooseSeed('7')).toBe(7);
    expect(new Set(Array.from({ length: 20 }, () => chooseSeed(''))).size).toBeGreaterThan(1);
  });

  it.each(['x', '-1', '1.5', String(2 ** 31)])('is refused as %j', (given) => {
    expect(() => chooseSeed(given)).toThrow(/TEST_SEED is .*: give a whole number from 0 to 2147483647/);
  });
});
