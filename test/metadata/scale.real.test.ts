import { expect, test } from 'vitest';
import { MetadataStore } from '../../src/metadata/index.js';
import { freshFolder, insertChain, log, openStore } from './support.js';

test('10,000 snapshots open, are counted, found and walked', async () => {
  const folder = await freshFolder();
  const filling = await MetadataStore.open(folder, log);
  for (let chain = 0; chain < 1000; chain += 1) await insertChain(filling, 10, `chain-${chain}-`);
  await filling.close();

  const many = await openStore(folder);
  expect(await many.count()).toBe(10_000);
  expect((await many.chain('chain-777-10')).length).toBe(10);
  let walked = 0;
  for await (const record of many.all()) walked += record.id > 0 ? 1 : 0;
  expect(walked).toBe(10_000);
});
