import { uniformInt } from 'pure-rand/distribution/uniformInt';
import { xoroshiro128plus } from 'pure-rand/generator/xoroshiro128plus';

/** With TEST_ALL=1, as `npm run test:all` sets it, every long enumeration runs whole. */
export const runsAll = process.env['TEST_ALL'] === '1';

const mostSeeds = 2 ** 31;

/**
 * The number that all chance of a test run comes from: TEST_SEED, or one of the run's own. vitest.config.ts chooses it before
 * any file is collected and hands it to all of them; the reporter prints it.
 *
 * @throws Error when TEST_SEED is not a whole number from 0 to 2^31 - 1.
 */
export function chooseSeed(given = process.env['TEST_SEED']): number {
  if (given === undefined || given === '') return Math.floor(Math.random() * mostSeeds);
  const seed = Number(given);
  if (/^\d+$/.test(given) && seed < mostSeeds) return seed;
  throw new Error(`TEST_SEED is ${JSON.stringify(given)}: give a whole number from 0 to ${mostSeeds - 1}`);
}

/** The seed of this run. */
export function runSeed(): number {
  const given = process.env['TEST_SEED'];
  if (given === undefined) throw new Error('TEST_SEED is not set: run the tests with vitest.config.ts');
  return chooseSeed(given);
}

/** Chance that is the same for the same seed. */
export interface Random {
  /** A whole number from `low` to `high`, both included. */
  int(low: number, high: number): number;
  /** True once in `n` times. */
  oneIn(n: number): boolean;
  /** One of the items, of which there is at least one. */
  pick<T>(items: readonly T[]): T;
  /** Some of the items, `count` at most, in their order. */
  some<T>(items: readonly T[], count: number): T[];
}

/** @param seed a whole number; without one the run's */
export function randomOf(seed = runSeed()): Random {
  const generator = xoroshiro128plus(seed);
  const int = (low: number, high: number) => uniformInt(generator, low, high);
  return {
    int,
    oneIn: (n) => int(1, n) === 1,
    pick: (items) => items[int(0, items.length - 1)]!,
    some(items, count) {
      let wanted = Math.min(count, items.length);
      return items.filter((_, index) => {
        const taken = int(1, items.length - index) <= wanted;
        if (taken) wanted -= 1;
        return taken;
      });
    },
  };
}

/**
 * What this run tries of a long enumeration: `count` of its items in their order, by the run's seed, or all with TEST_ALL=1.
 * May be called while a file is collected: every process of a run finds the same share.
 */
export function share<T>(all: readonly T[], count: number): readonly T[] {
  return runsAll ? all : randomOf().some(all, count);
}

/** How often a generated case runs: `few`, or `many` with TEST_ALL=1. */
export function times(few: number, many: number): number {
  return runsAll ? many : few;
}
