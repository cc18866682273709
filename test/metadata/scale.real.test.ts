import { expect, test } from 'vitest';
import { MetadataStore } from '../../src/metadata/index.js';
import { freshFolder, insert, insertChain, log, openStore } from './support.js';

/** The median time of one stat and one insert + delete, in milliseconds. */
async function cost(store: MetadataStore, key: string): Promise<{ stat: number; write: number }> {
  const [stats, writes]: [number[], number[]] = [[], []];
  for (let round = 0; round < 60; round += 1) {
    const start = performance.now();
    await store.get(key);
    const read = performance.now();
    await insert(store, { key: 'passing', parent: key });
    await store.exclusive('remove', (tx) => tx.delete('passing'));
    stats.push(read - start);
    writes.push(performance.now() - read);
  }
  const median = (times: number[]) => times.sort((left, right) => left - right)[times.length / 2] ?? NaN;
  return { stat: median(stats), write: median(writes) };
}

test('stat and prepare + remove cost the same with 10,000 snapshots as with 10', async () => {
  const few = await openStore();
  await insertChain(few, 10);
  const folder = await freshFolder();
  const filling = await MetadataStore.open(folder, log);
  for (let chain = 0; chain < 1000; chain += 1) await insertChain(filling, 10, `chain-${chain}-`);
  await filling.close();

  const started = performance.now();
  const many = await openStore(folder);
  expect(await many.count()).toBe(10_000);
  expect(performance.now() - started, 'opening and checking everything').toBeLessThan(10_000);

  const [small, large] = [await cost(few, 'layer-10'), await cost(many, 'chain-777-10')];
  // The bar is a ratio of 1.5 on a quiet machine; room for the noise of tests that run beside this one.
  expect(large.stat).toBeLessThan(small.stat * 3 + 0.5);
  expect(large.write).toBeLessThan(small.write * 3 + 5);

  let walked = 0;
  for await (const record of many.all()) walked += record.id > 0 ? 1 : 0;
  expect(walked).toBe(10_000);
});
