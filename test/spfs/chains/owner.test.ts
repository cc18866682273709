import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { expect, it } from 'vitest';
import { isGone, labelsOfThisProcess } from '../../../src/spfs/chains/owner.js';

/** Labels as that process would give them, which has the same boot and pid namespace. */
async function labelsOf(pid: number) {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8');
  const start = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? '';
  return { ...(await labelsOfThisProcess()), 'spfs/pid': String(pid), 'spfs/start': start };
}

it('a process is there until it ends, and not while only its parent has not noticed', async () => {
  // cat never asks how that ended which the shell had started.
  const parent = spawn('sh', ['-c', 'sleep 600 & echo $!; exec cat'], { stdio: ['pipe', 'pipe', 'ignore'] });
  const [line] = (await once(parent.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  const labels = await labelsOf(pid);
  expect(await isGone(labels)).toBe(false);
  process.kill(pid, 'SIGKILL');
  await expect.poll(() => isGone(labels)).toBe(true);
  expect(await readFile(`/proc/${pid}/stat`, 'utf8')).toContain(' Z ');
  parent.kill('SIGKILL');
  await once(parent, 'exit');
});

it.each([
  ['this process', {}, false],
  ['another that got the same pid', { 'spfs/start': '1' }, true],
  ['one before the machine was started again', { 'spfs/boot': 'another', 'spfs/pid-namespace': 'another' }, true],
  ['one in another pid namespace, of which nothing is known', { 'spfs/pid-namespace': 'pid:[1]' }, false],
  ['none: the labels are damaged', { 'spfs/pid': 'x' }, true],
])('the labels of %s', async (_, changed, gone) => {
  expect(await isGone({ ...(await labelsOfThisProcess()), ...changed })).toBe(gone);
});
