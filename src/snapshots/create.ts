import { mkdir, writeFile } from 'node:fs/promises';

import { chainRootAttributes } from '../erofs/index.js';
import { writableLayerLimits } from '../ext4/index.js';
import { asCodedError, syncFolder, wallClock } from '../host/index.js';
import {
  checkKey,
  checkLabels,
  type ContainerRecord,
  type ExtractRecord,
  type LayerPlace,
  type MergedPlace,
  type ViewRecord,
} from '../metadata/index.js';
import { isoOf } from '../timestamps.js';
import { listedOldestFirst, type Mount, type OldestFirst } from '../vocabulary.js';
import { orAborted } from '../waiting.js';
import { refuseWhatIsHere } from './adoptable.js';
import type { Context } from './context.js';
import { expectedLayerOf } from './extract-target.js';
import { mark } from './ownership.js';
import type { SnapshotFolder } from './paths.js';
import { layersOfChain, mustBeFree, usableParent, writeRecordFile } from './records.js';
import { keptLabels, writableBytesOf, type CreateRequest } from './requests.js';
import { decide, pathsOf, render, type Role } from './serve.js';
import { giveUp } from './trash.js';

interface Gathered {
  readonly layers: OldestFirst<LayerPlace>;
  readonly merged: MergedPlace | undefined;
}

type NewRecord = ExtractRecord | (ContainerRecord & { readonly writableBytes: number }) | ViewRecord;

/**
 * Prepare and View: check, gather, decide, fill a folder of its own, record. The answer is decided here once and recorded. A
 * Prepare for a layer that is here already ends before that, see {@link refuseWhatIsHere}.
 */
export async function createSnapshot(context: Context, role: Role, request: CreateRequest): Promise<readonly Mount[]> {
  checkKey(request.key, 'key');
  checkLabels(request.labels);
  const bytes = writableBytesOf(request.labels, writableLayerLimits) ?? context.defaultSize;
  return context.keys.run(request.key, async () => {
    await mustBeFree(context.store, request.key, 'key');
    if (role !== 'view') await refuseWhatIsHere(context, request);
    const { layers, merged } = await gather(context, role, request);
    const decision = decide({ role, layers, merged });
    request.signal?.throwIfAborted();
    const id = context.store.reserveId();
    const folder = context.paths.snapshot(id);
    const now = isoOf(wallClock());
    const common = {
      id,
      key: request.key,
      parent: request.parent,
      labels: keptLabels(request.labels),
      createdAt: now,
      updatedAt: now,
      namespace: request.namespace,
      revision: 1,
    };
    const record: NewRecord =
      decision.role === 'container' ? { ...common, ...decision, writableBytes: bytes } : { ...common, ...decision };
    try {
      await fill(context, folder, record, layers, request.signal);
      await insert(context, record);
    } catch (error) {
      await giveUp(context, request.key, id);
      throw asCodedError(error, `preparing ${JSON.stringify(request.key)}`, context.paths.root);
    }
    if (record.role === 'extract') context.expectLayer(expectedLayerOf(context, record));
    return render(record.serve, id, context.paths);
  });
}

async function gather(context: Context, role: Role, { parent, signal }: CreateRequest): Promise<Gathered> {
  const none = { layers: listedOldestFirst<LayerPlace>([]), merged: undefined };
  if (parent === '') return none;
  const parentRecord = await usableParent(context.store, parent);
  if (role === 'extract') return none;
  const layers = await layersOfChain(context, parent);
  if (layers.length < 2) return { layers, merged: undefined };
  const merging = context.merged.ensure(context.paths.snapshot(parentRecord.id), pathsOf(layers, context.paths));
  const outcome = await orAborted(merging, signal);
  if (outcome.merged) return { layers, merged: { id: parentRecord.id, plan: outcome.plan } };
  context.log.warn(
    { parent, layers: layers.length, cause: outcome.cause },
    'this chain is served as one disk a layer, since its layers cannot be merged',
  );
  return { layers, merged: undefined };
}

async function fill(
  context: Context,
  folder: SnapshotFolder,
  record: NewRecord,
  layers: OldestFirst<LayerPlace>,
  signal: AbortSignal | undefined,
): Promise<void> {
  await mkdir(folder.path, { mode: 0o700 });
  await mark(folder.ownMarker);
  await writeFile(folder.marker, '');
  await mkdir(folder.upper, { mode: 0o755 });
  if (record.role === 'container') {
    const root = await chainRootAttributes(pathsOf(layers, context.paths));
    const { writableBytes: bytes } = record;
    await context.writable.create({ path: folder.writable, bytes, root, signal });
  }
  await writeRecordFile(context, record);
  await syncFolder(context.paths.snapshots);
}

/** The commit point. Parent and key are checked again: both may have changed while the folder was filled. */
function insert(context: Context, record: NewRecord): Promise<void> {
  return context.store.exclusive(`insert ${record.kind}`, async (tx) => {
    if (record.parent !== '') await usableParent(tx, record.parent);
    await mustBeFree(tx, record.key, 'key');
    await tx.insert(record);
  });
}
