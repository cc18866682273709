import { rm } from 'node:fs/promises';
import { join } from 'node:path';

import { silentLogger } from '../../src/log.js';
import { type Scope, withScope } from '../../src/scope.js';
import { snapshotterName } from '../rig/containerd.js';
import { daemon } from '../rig/daemon.js';
import { BenchClient } from './client.js';
import { milliseconds, rotated } from './samples.js';
import type { World } from './world.js';

const few = 10;
const statsARound = 200;
const pairsARound = 20;
const base = 'bench/0/base';

/** Two daemons, one with ten snapshots and one with many, asked in turns. */
export async function benchMany(world: World): Promise<void> {
  const { results, rounds, quick } = world;
  const many = quick ? 1_000 : 10_000;
  await withScope(silentLogger(), async (scope) => {
    const contenders = [
      { id: 'few', count: few, client: await daemonWith(scope, world, few) },
      { id: 'many', count: many, client: await daemonWith(scope, world, many) },
    ];
    // The daemon that made many snapshots has run its code often; the other one must not be slower for that.
    for (const { count, client } of contenders) await warmUp(client, count);
    for (let round = 0; round < rounds; round++) {
      for (const { id, count, client } of rotated(contenders, round)) {
        const say = (what: string) => `${what} with ${count.toLocaleString('en')} snapshots`;
        results.add(
          `many.stat.${id}`,
          say('Stat'),
          'ms',
          await meanOf(statsARound, (number) => client.stat(viewKey((number * 37) % count))),
        );
        results.add(
          `many.prepare.${id}`,
          say('Prepare+Remove'),
          'ms',
          await meanOf(pairsARound, (number) => pair(client, number)),
        );
        results.add(`many.list.${id}`, say('List, all of it,'), 'ms', await milliseconds(() => client.list()));
        await client.cleanup();
      }
    }
  });
}

async function pair(client: BenchClient, number: number): Promise<void> {
  const key = `bench/0/pair-${number}`;
  await client.prepare(key, base);
  await client.remove(key);
}

async function warmUp(client: BenchClient, count: number): Promise<void> {
  await meanOf(10 * statsARound, (number) => client.stat(viewKey(number % count)));
  await meanOf(5 * pairsARound, (number) => pair(client, number));
  await client.cleanup();
}

async function meanOf(times: number, work: (number: number) => Promise<unknown>): Promise<number> {
  const total = await milliseconds(async () => {
    for (let number = 0; number < times; number++) await work(number);
  });
  return total / times;
}

const viewKey = (number: number) => `bench/0/view-${number}`;

async function daemonWith(scope: Scope, { rig, signal }: World, count: number): Promise<BenchClient> {
  const root = join(rig.folder, `with-${count}`);
  const address = join(rig.folder, `with-${count}.sock`);
  scope.defer(root, () => rm(root, { recursive: true, force: true }));
  const service = daemon({ root, address, containerdAddress: rig.containerd.address, args: ['--log-level', 'warn'] });
  scope.defer('daemon', async () => {
    await service.stop();
  });
  await service.start();
  const client = new BenchClient(address, snapshotterName, signal);
  scope.defer('client', () => client.close());
  await client.prepare('bench/0/base-active', '');
  await client.commit(base, 'bench/0/base-active');
  let next = 0;
  const worker = async () => {
    while (next < count) await client.view(viewKey(next++), base);
  };
  await Promise.all(Array.from({ length: 16 }, worker));
  return client;
}
