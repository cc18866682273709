import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { MetadataStore } from '../../src/metadata/index.js';
import { collect, freshFolder, log } from './support.js';

const child = fileURLToPath(new URL('fixtures/crash-child.ts', import.meta.url));

/** Runs the writer until it acknowledged `turns` turns, then kills it; gives the turns that it acknowledged. */
async function killAfter(turns: number, folder: string): Promise<number[]> {
  const writer = spawn(process.execPath, ['--import', 'tsx', child, folder], { stdio: ['ignore', 'pipe', 'inherit'] });
  const closed = once(writer, 'close');
  let output = '';
  writer.stdout.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    if (output.split('\n').length > turns) writer.kill('SIGKILL');
  });
  await closed;
  expect(writer.signalCode).toBe('SIGKILL');
  return output.trim().split('\n').map(Number);
}

test('after kill -9 every acknowledged transaction is there, every other whole or absent, and ids go on', async () => {
  const folder = await freshFolder();
  const acknowledged: number[] = [];
  let highestId = 0;
  for (const turns of [1, 17, 60]) {
    acknowledged.push(...(await killAfter(turns, folder)));
    const store = await MetadataStore.open(folder, log); // checks every record, index and counter
    const records = await collect(store.all());
    const keys = new Set(records.map(({ key }) => key));
    for (const turn of acknowledged) {
      expect([keys.has(`base-${turn}`), keys.has(`layer-${turn}`)]).toEqual([true, true]);
    }
    for (const key of keys) {
      if (!key.startsWith('base-')) continue;
      const turn = key.slice('base-'.length);
      expect(keys.has(`unpack-${turn}`) !== keys.has(`layer-${turn}`), `turn ${turn} is whole`).toBe(true);
    }
    const next = await store.exclusive('next', (tx) => Promise.resolve(tx.nextId()));
    expect(next).toBeGreaterThan(Math.max(highestId, ...records.map(({ id }) => id)));
    highestId = next;
    await store.close();
  }
});
