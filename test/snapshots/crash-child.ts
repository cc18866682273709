/**
 * A process that crashes on purpose: it opens the snapshotter on a root, and kills itself right before the n-th step of one
 * operation that would change something on disk: a call of node:fs/promises, a write of LevelDB, a process to start.
 *
 * Arguments: root, operation (the first start when there is none of that name), n. It prints how many steps there were when none of them was the n-th.
 */
import childProcess from 'node:child_process';
import fs, { constants, promises } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { Level } from 'level';
import { openSnapshotter } from '../conformance/in-process.js';
import { firstStart, operations } from './crash-operations.js';

const [root = '', name = '', limit = '0'] = process.argv.slice(2);
let armed = false;
let steps = 0;

function step(): void {
  if (!armed) return;
  steps += 1;
  if (steps === Number(limit)) process.kill(process.pid, 'SIGKILL');
}

type Method = (...args: unknown[]) => unknown;

function patch(owner: object, method: string, mutates: (args: readonly unknown[]) => boolean = () => true): void {
  const methods = owner as Record<string, Method>;
  const original = methods[method]!;
  methods[method] = function (this: unknown, ...args: unknown[]) {
    if (mutates(args)) step();
    return original.apply(this, args);
  };
}

const writing = constants.O_WRONLY | constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC;
const opensForWriting = ([, flags = 'r']: readonly unknown[]) =>
  typeof flags === 'number' ? (flags & writing) !== 0 : flags !== 'r';

const changing = [
  'mkdir',
  'writeFile',
  'rename',
  'rm',
  'rmdir',
  'unlink',
  'symlink',
  'link',
  'truncate',
  'chmod',
  'utimes',
];
for (const method of changing) patch(promises, method);
patch(promises, 'open', opensForWriting);
const handle = await promises.open('/dev/null', 'r');
const handles = Object.getPrototypeOf(handle) as object;
await handle.close();
for (const method of ['sync', 'datasync', 'write', 'writeFile', 'truncate', 'chmod', 'chown', 'utimes'])
  patch(handles, method);
patch(fs, 'openSync', opensForWriting);
patch(childProcess, 'spawn');
// `batch` is the one way in which the store writes; it is a method of a base class.
let owner = Level.prototype as object;
while (!Object.hasOwn(owner, 'batch')) owner = Object.getPrototypeOf(owner) as object;
patch(owner, 'batch');
syncBuiltinESMExports();

const operation = operations[name] ?? firstStart;
armed = operation.fromStart === true;
const snapshotter = await openSnapshotter(root);
await snapshotter.cleanup();
armed = true;
await operation.run(snapshotter);
armed = false;
await snapshotter.close();
process.stdout.write(`${steps}\n`);
