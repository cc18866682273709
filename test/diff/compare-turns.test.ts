import { setImmediate as turn } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { LayerComparer } from '../../src/diff/index.js';
import { CodedError } from '../../src/errors.js';
import { Slots } from '../../src/jobs.js';
import type { CompareSides } from '../../src/layers/index.js';
import { silentLogger } from '../../src/log.js';

it('mounts nothing before its turn: four Diffs at once, and one that is cancelled while it waits never does', async () => {
  const blobs = { write: () => Promise.resolve() };
  const comparer = new LayerComparer({ blobs, slots: new Slots(1), timeoutMs: 60_000, log: silentLogger() });
  let mounts = 0;
  let release = () => {};
  const released = new Promise<void>((resolve) => (release = resolve));
  const sides: CompareSides = {
    withUpper: undefined,
    withTrees: async () => {
      mounts += 1;
      await released;
      throw new CodedError('data-loss', 'enough for this test');
    },
    temporary: (purpose) => purpose,
  };
  const controllers = Array.from({ length: 6 }, () => new AbortController());
  const outcomes = controllers.map(({ signal }) =>
    comparer
      .compare({
        sides: () => Promise.resolve(sides),
        mediaType: '',
        ref: '',
        labels: {},
        sourceDateEpoch: undefined,
        namespace: 'default',
        lease: undefined,
        signal,
      })
      .catch((error: unknown) => (error as CodedError).code),
  );
  await turn();
  expect(mounts).toBe(4);
  controllers[5]?.abort();
  expect(await outcomes[5]).toBe('cancelled');
  release();
  expect(await Promise.all(outcomes)).toEqual([...Array<string>(5).fill('data-loss'), 'cancelled']);
  expect(mounts).toBe(5);
});
