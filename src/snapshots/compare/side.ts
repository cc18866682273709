import { isDeepStrictEqual } from 'node:util';

import type { MergePlan } from '../../erofs/index.js';
import { CodedError } from '../../errors.js';
import {
  layersOf,
  type CommittedRecord,
  type ContainerRecord,
  type LayerPlace,
  type Serve,
  type SnapshotRecord,
  type ViewRecord,
} from '../../metadata/index.js';
import type { Mount, OldestFirst } from '../../vocabulary.js';
import type { Context } from '../context.js';
import { claimsToBeBelow, pathsNamedBy } from '../extract-target.js';
import { inlaysIn } from '../merged-images.js';
import { layersOfChain, mustBeSound } from '../records.js';
import { decide, render } from '../serve.js';

export type SideName = 'left' | 'right';

/** One side of a Diff: the layers below, and what a guest wrote on top of them when the snapshot is active. */
export interface ComparedSide {
  readonly layers: OldestFirst<LayerPlace>;
  readonly serve: Serve;
  readonly active: ContainerRecord | undefined;
}

/** @throws CodedError `not-mine` when neither list names a path below the root; `invalid-argument` when only one does */
export function mustBeOurs({ paths }: Context, left: readonly Mount[], right: readonly Mount[]): void {
  const named = { left: left.flatMap(pathsNamedBy), right: right.flatMap(pathsNamedBy) };
  const ours = (side: SideName) => named[side].some((path) => claimsToBeBelow(path, paths.root));
  if (ours('left') && ours('right')) return;
  const facts = { left: named.left, right: named.right, root: paths.root };
  if (!ours('left') && !ours('right')) {
    throw new CodedError('not-mine', 'these mounts are not of this snapshotter', { facts });
  }
  throw new CodedError('invalid-argument', `the ${ours('left') ? 'right' : 'left'} mounts are not below the root`, {
    facts,
    next: 'compare snapshots of one snapshotter',
  });
}

/**
 * Finds whose mounts these are, and believes them only when that snapshot's own answer is exactly this list: what is mounted
 * later is spelled from the records, never from the wire.
 *
 * @throws CodedError `invalid-argument` when no Prepare, View or Mounts of ours answers this list; `failed-precondition`
 *   when the snapshot is quarantined, or one that layers are extracted into
 */
export async function findSide(context: Context, name: SideName, mounts: readonly Mount[]): Promise<ComparedSide> {
  const [first, last] = [mounts[0], mounts.at(-1)];
  const owner = last && (await ownerOf(context, last));
  const record = owner?.kind === 'committed' ? first && (await ownerOf(context, first)) : owner;
  if (!record) throw notAnAnswer(name, mounts);
  mustBeSound(record);
  if (record.kind === 'active' && record.role === 'extract') throw extracting(record, name);
  const side = record.kind === 'committed' ? await viewOf(context, record, mounts) : servedAs(record);
  const answer = render(side.serve, record.id, context.paths);
  if (!isDeepStrictEqual(mounts.map(bare), answer.map(bare))) throw notAnAnswer(name, mounts);
  return side;
}

function bare({ type, source, options }: Mount) {
  return { type, source, options: [...options] };
}

async function ownerOf({ paths, store }: Context, { source }: Mount): Promise<SnapshotRecord | undefined> {
  const id = paths.ownerOf(source);
  return id === undefined ? undefined : store.byId(id);
}

/** A view of layers names nothing of its own: only the committed snapshot in which its chain ends. */
async function viewOf(context: Context, top: CommittedRecord, mounts: readonly Mount[]): Promise<ComparedSide> {
  const layers = await layersOfChain(context, top.key);
  const [mount, ...others] = mounts;
  const merged =
    mount && others.length === 0 ? { id: top.id, plan: await planOfMount(context, top, mount) } : undefined;
  return { layers, serve: decide({ role: 'view', layers, merged }).serve, active: undefined };
}

/** How the merged image was merged that the mount names, if it names one: by the folder it lies in, and the manifest there. */
async function planOfMount({ paths }: Context, { id }: CommittedRecord, { source }: Mount): Promise<MergePlan> {
  const own = paths.snapshot(id).mergedBy('overlay');
  return source === own.image ? { rules: 'overlay', inlays: await inlaysIn(own) } : { rules: 'mkfs', inlays: [] };
}

function servedAs(record: ContainerRecord | ViewRecord): ComparedSide {
  const { serve } = record;
  return { layers: layersOf(serve), serve, active: record.kind === 'active' ? record : undefined };
}

function notAnAnswer(name: SideName, mounts: readonly Mount[]): CodedError {
  return new CodedError('invalid-argument', `no snapshot has the ${name} mounts of this call`, {
    facts: { mounts: mounts.map(({ type, source }) => `${type} ${source}`) },
    next: 'pass on the mounts that Prepare, View or Mounts answered, unchanged',
  });
}

function extracting(record: SnapshotRecord, name: SideName): CodedError {
  return new CodedError(
    'failed-precondition',
    `the ${name} mounts are of ${JSON.stringify(record.key)}, into which a layer is extracted`,
    { facts: { key: record.key }, next: 'commit it, and compare a view of the committed snapshot' },
  );
}
