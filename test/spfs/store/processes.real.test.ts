import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { expect, onTestFinished, test } from 'vitest';
import { SpfsStore } from '../../../src/spfs/store/index.js';
import { bundlePrograms } from '../../harness/bundle.js';
import { entry, freshRoot, layer, log, platform, tag } from './support.js';

const bundle = bundlePrograms(import.meta.dirname, 'push-child', 'hold-child', 'crash-child');

function start(script: Parameters<typeof bundle>[0], ...args: readonly string[]): ChildProcess {
  const child = spawn(process.execPath, [bundle(script), ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  onTestFinished(() => void child.kill('SIGKILL'));
  return child;
}

/** Resolves when the child has printed its first line. */
async function ready(child: ChildProcess): Promise<void> {
  await Promise.race([
    once(child.stdout!, 'data'),
    once(child, 'exit').then(() => {
      throw new Error('the child ended before it was ready');
    }),
  ]);
}

test('of twenty processes that push at once none loses an entry, and each one’s own are in order', async () => {
  const root = await freshRoot();
  const [processes, entries] = [20, 5];
  const users = Array.from({ length: processes }, (_, at) => `user-${at}`);
  const children: { user: string; child: ChildProcess; exited: Promise<unknown[]> }[] = [];
  for (const user of users) {
    const child = start('push-child', root, user, String(entries));
    children.push({ user, child, exited: once(child, 'exit') });
  }
  await Promise.all(children.map(({ child }) => ready(child)));
  for (const { child } of children) child.stdin!.write('go\n');
  expect(await Promise.all(children.map(({ exited }) => exited))).toEqual(users.map(() => [0, null]));

  await new SpfsStore({ root, log }).read(async (view) => {
    const shared = await view.history('shared');
    expect(shared.length).toBe(processes * entries);
    for (const user of users) {
      const wanted = Array.from({ length: entries }, (_, at) => layer(`${user} ${at}`).digest).reverse();
      expect(shared.filter((one) => one.user === user).map(({ digest }) => digest)).toEqual(wanted);
      expect((await view.history(`own/${user}`)).map(({ digest }) => digest)).toEqual(wanted);
    }
    expect((await view.objects()).length).toBe(processes * entries);
  });
});

test('a process that holds the store is named to those who waited in vain, and killed it gives the store back', async () => {
  const root = await freshRoot();
  const red = layer('red');
  await tag(new SpfsStore({ root, log }), ['before', red]);
  const holder = start('hold-child', root);
  await ready(holder);
  const impatient = new SpfsStore({ root, log, waitMs: 100 });
  await expect(impatient.read((view) => view.tags())).rejects.toMatchObject({
    code: 'unavailable',
    message: expect.stringContaining(`is locked by process ${holder.pid}, for longer than 0.1 s`) as string,
    facts: { pid: holder.pid },
    next: expect.stringContaining('wait until that command has ended') as string,
  });

  const patient = new SpfsStore({ root, log, waitMs: 60_000 });
  const waiting = patient.read((view) => view.tags());
  holder.kill('SIGKILL');
  expect(await waiting).toEqual([{ name: 'before', history: [entry(red)] }]);
  expect(await impatient.read((view) => view.objects())).toEqual([red]);
});

/** Runs the writer until it acknowledged `turns` turns, then kills it; gives the turns that it acknowledged. */
async function killAfter(turns: number, root: string): Promise<number[]> {
  const writer = start('crash-child', root);
  const closed = once(writer, 'close');
  let output = '';
  writer.stdout!.on('data', (chunk: Buffer) => {
    output += chunk.toString();
    if (output.split('\n').length > turns) writer.kill('SIGKILL');
  });
  await closed;
  expect(writer.signalCode).toBe('SIGKILL');
  return output.trim().split('\n').map(Number);
}

test('after kill -9 every acknowledged change is there, and every other whole or absent', async () => {
  const root = await freshRoot();
  for (const turns of [1, 5, 23]) {
    const last = (await killAfter(turns, root)).at(-1)!;
    await new SpfsStore({ root, log }).read(async (view) => {
      const history = await view.history('turns');
      expect(history.length).toBeGreaterThan(last);
      expect(history.length).toBeLessThanOrEqual(last + 2);
      const newest = history.length - 1;
      expect(history.map(({ user }) => user)).toEqual(history.map((_, at) => `turn ${newest - at}`));
      // The tags of the two newest turns, each with all of its entries; those before are removed.
      const left = (await view.tags('turn/')).map(({ name, history: own }) => [name, own.length]);
      const wanted = [newest - 1, newest].filter((turn) => turn >= 0).map((turn) => [`turn/${turn}`, 20] as const);
      expect(new Map(left as [string, number][])).toEqual(new Map(wanted));
      // The platforms of the tag `turns` reach all layers.
      expect((await view.objects()).length).toBe(history.length * 21);
      const layers = Array.from({ length: 20 }, (_, at) => layer(`turn ${newest} layer ${at}`));
      expect(await view.object(history[0]!.digest)).toMatchObject({ digest: platform(...layers).digest });
    });
  }
});
