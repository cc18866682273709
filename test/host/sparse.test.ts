import { open, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { dataRegions } from '../../src/host/index.js';
import { temporaryFolder } from './temporary.js';

test('data regions leave out the holes, also beyond 4 GiB', async () => {
  const path = join(await temporaryFolder(), 'sparse');
  const block = 64 * 1024;
  const far = 5 * 2 ** 30;
  const file = await open(path, 'w');
  await file.write(Buffer.alloc(block, 1), 0, block, block);
  await file.write(Buffer.alloc(block, 1), 0, block, far);
  await file.truncate(far + 3 * block);
  await file.close();
  expect(await dataRegions(path)).toEqual([
    { offset: block, length: block },
    { offset: far, length: block },
  ]);
});

test('a full file is one region, an empty one none', async () => {
  const path = join(await temporaryFolder(), 'file');
  await writeFile(path, 'hello');
  expect(await dataRegions(path)).toEqual([{ offset: 0, length: 5 }]);
  await writeFile(path, '');
  expect(await dataRegions(path)).toEqual([]);
});
