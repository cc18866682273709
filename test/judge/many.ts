import fc from 'fast-check';
import { runsAll, runSeed, times } from '../harness/share.js';

/** How long a run that is not whole goes on with further values, in milliseconds. */
const whileMs = 60_000;

/** How long looking for a failure's smallest form may take, with the time before it; below the time limit of the tests. */
const lookingMs = 8 * 60_000;

/** The time limit for a test of {@link manyHold}, in milliseconds. */
export const manyMs = 10 * 60_000;

/**
 * Tries generated values, 30 at the least and as many as fit in a minute; 200 in a run that is whole. The run's seed chooses
 * them. A value for which something is found is made smaller for as long as something is found.
 *
 * @param trial tells what is wrong, line by line
 */
export async function manyHold<T>(values: fc.Arbitrary<T>, trial: (value: T) => Promise<readonly string[]>) {
  const property = fc.asyncProperty(values, async (value) => {
    const differences = await trial(value);
    // In full, where an assertion would cut it short.
    if (differences.length > 0) throw new Error(differences.map((each) => JSON.stringify(each)).join('\n'));
  });
  const begin = Date.now();
  const seed = runSeed();
  const common = { seed, includeErrorInReport: true } as const;
  const first = { ...common, numRuns: times(30, 200), interruptAfterTimeLimit: runsAll ? undefined : lookingMs };
  await fc.assert(property, { ...first, markInterruptAsFailure: true });
  const left = whileMs - (Date.now() - begin);
  if (!runsAll && left > 0)
    await fc.assert(property, { ...common, seed: seed + 1, numRuns: 10_000, interruptAfterTimeLimit: left });
}
