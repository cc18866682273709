import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { CodedError } from '../../errors.js';
import { PrivateMounts, removeTree, temporaryBeside } from '../../host/index.js';
import type { CompareSides } from '../../layers/index.js';
import type { SnapshotRecord } from '../../metadata/index.js';
import { withScope, type Scope } from '../../scope.js';
import type { Labels, Mount } from '../../vocabulary.js';
import { findSide, mustBeOurs, type ComparedSide } from './side.js';
import type { Context } from '../context.js';
import { mountLayer, mountTree, type Mounting } from './trees.js';
import { mountUpper } from '../guest/mount.js';
import { isQuiesced } from '../requests.js';

export interface CompareRequest {
  readonly left: readonly Mount[];
  readonly right: readonly Mount[];
  readonly labels: Labels;
  readonly signal: AbortSignal;
}

/**
 * Resolves the mounts of a Diff to what may be read for it. Nothing is mounted before the differ asks.
 *
 * @throws CodedError as {@link mustBeOurs} and {@link findSide}; what it returns throws those of `mountUpper`
 */
export async function findCompareSides(context: Context, request: CompareRequest): Promise<CompareSides> {
  mustBeOurs(context, request.left, request.right);
  const left = await findSide(context, 'left', request.left);
  const right = await findSide(context, 'right', request.right);
  const quiesced = isQuiesced(request.labels);
  const { signal } = request;
  const reading = { context, quiesced, signal, guestDisks: context.guestDisks };
  const held = [left.active, right.active].filter((record) => record !== undefined);
  return {
    withUpper: upperRoute(reading, left, right),
    withTrees: (work) =>
      holding(reading, held, () =>
        inFolder(reading, async (mounting, scope, folder) => {
          const before = await mountTree(mounting, scope, left, join(folder, 'left'));
          return work(before, await mountTree(mounting, scope, right, join(folder, 'right')));
        }),
      ),
    temporary: (purpose) => temporaryBeside(join(context.paths.snapshots, purpose)),
  };
}

/** Decides whether one upper says it all: that of an active snapshot on left's layers, or the one layer that right has more. */
function upperRoute(reading: Reading, left: ComparedSide, right: ComparedSide): CompareSides['withUpper'] {
  const { context } = reading;
  if (left.active || !startsWith(right, left)) return undefined;
  const { active } = right;
  if (active && right.layers.length === left.layers.length) {
    const folder = context.paths.snapshot(active.id);
    return (work) =>
      holding(reading, [active], () =>
        mounted(reading, async ({ mounts }, scope) => work(await mountUpper(scope, mounts, folder, reading))),
      );
  }
  const added = right.layers.at(left.layers.length);
  if (active || !added || right.layers.length !== left.layers.length + 1) return undefined;
  return (work) =>
    inFolder(reading, async (mounting, _scope, folder) => {
      const { path } = await mountLayer(mounting, added, join(folder, 'layer'));
      return work({ path, notes: 'trusted' });
    });
}

type Reading = Omit<Mounting, 'mounts'>;

function mounted<T>(reading: Reading, work: (mounting: Mounting, scope: Scope) => Promise<T>): Promise<T> {
  return withScope(reading.context.log, async (scope) => {
    const mounts = await PrivateMounts.open(reading.context.paths.snapshots);
    scope.defer('mounts', () => mounts.close());
    return work({ ...reading, mounts }, scope);
  });
}

function inFolder<T>(
  reading: Reading,
  work: (mounting: Mounting, scope: Scope, folder: string) => Promise<T>,
): Promise<T> {
  return withScope(reading.context.log, async (scope) => {
    const folder = reading.context.paths.comparison();
    await mkdir(folder, { mode: 0o700 });
    scope.defer('folder of the comparison', () => removeTree(folder));
    return mounted(reading, (mounting, inner) => work(mounting, inner, folder));
  });
}

function startsWith(whole: ComparedSide, start: ComparedSide): boolean {
  return start.layers.every(({ id, file }, index) => {
    const place = whole.layers[index];
    return place?.id === id && place.file === file;
  });
}

/**
 * Keeps Commit and Remove away from snapshots while they are read, in the order of their keys, so that two calls never wait
 * for each other.
 */
async function holding<T>(
  { context, signal }: Reading,
  records: readonly SnapshotRecord[],
  work: () => Promise<T>,
): Promise<T> {
  const keys = [...new Set(records.map(({ key }) => key))].sort();
  const inOrder = keys.reduceRight<() => Promise<T>>(
    (next, key) => () => context.keys.run(key, next),
    async () => {
      signal.throwIfAborted();
      for (const { key, id } of records) await mustBeTheSame(context, key, id);
      return work();
    },
  );
  return inOrder();
}

/** While this waited for the key, the snapshot may have been removed or committed, and another prepared under its key. */
async function mustBeTheSame({ store }: Context, key: string, id: number): Promise<void> {
  const record = await store.get(key);
  if (record?.id === id && record.kind === 'active') return;
  throw new CodedError('not-found', `snapshot ${JSON.stringify(key)} was removed or committed meanwhile`, {
    facts: { key, id },
    next: 'compare the committed snapshot, if there is one',
  });
}
