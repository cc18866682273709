import { mkdir, writeFile } from 'node:fs/promises';

import { chainRootAttributes } from '../erofs/index.js';
import { writableLayerLimits } from '../ext4/index.js';
import { SnapshotterError } from '../errors.js';
import { asSnapshotterError, syncFolder, wallClock } from '../host/index.js';
import { checkKey, checkLabels, type Serve, type SnapshotRecord } from '../metadata/index.js';
import { isoOf } from '../timestamps.js';
import { newestFirst, oldestFirst, type Mount, type OldestFirst } from '../vocabulary.js';
import { orAborted } from '../waiting.js';
import { refuseWhatIsHere } from './adoptable.js';
import type { Context } from './context.js';
import { expectedLayerOf } from './extract-target.js';
import { mark } from './ownership.js';
import type { SnapshotFolder } from './paths.js';
import { mustBeFree, mustBeSound, usableParent, writeRecordFile } from './records.js';
import { keptLabels, writableBytesOf, type CreateRequest } from './requests.js';
import { decide, pathsOf, render, type LayerPlace, type MergedPlace, type Role } from './serve.js';
import { giveUp } from './trash.js';

interface Gathered {
  readonly layers: OldestFirst<LayerPlace>;
  readonly merged: MergedPlace | undefined;
}

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
    const serve = decide({ role, layers, merged });
    request.signal?.throwIfAborted();
    const id = context.store.reserveId();
    const folder = context.paths.snapshot(id);
    const now = isoOf(wallClock());
    const record: SnapshotRecord = {
      id,
      key: request.key,
      kind: role === 'view' ? 'view' : 'active',
      parent: request.parent,
      labels: keptLabels(request.labels),
      createdAt: now,
      updatedAt: now,
      role,
      ...(request.namespace === undefined ? {} : { namespace: request.namespace }),
      serve,
      ...(role === 'container' ? { writableBytes: bytes } : {}),
      revision: 1,
    };
    try {
      await fill(context, folder, record, layers, request.signal);
      await insert(context, record);
    } catch (error) {
      await giveUp(context, request.key, id);
      throw asSnapshotterError(error, `preparing ${JSON.stringify(request.key)}`, context.paths.root);
    }
    if (role === 'extract') context.expectLayer(expectedLayerOf(context, record));
    return render(serve, id, context.paths);
  });
}

async function gather(context: Context, role: Role, { parent, signal }: CreateRequest): Promise<Gathered> {
  const none = { layers: oldestFirst(newestFirst<LayerPlace>([])), merged: undefined };
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

/** @throws SnapshotterError `failed-precondition` when a snapshot of the chain is quarantined */
export async function layersOfChain(context: Context, parent: string): Promise<OldestFirst<LayerPlace>> {
  const chain = await context.store.chain(parent);
  const places = chain.map((record) => {
    mustBeSound(record);
    if (record.layer) return { id: record.id, file: record.layer.file };
    throw new SnapshotterError('failed-precondition', `committed snapshot ${JSON.stringify(record.key)} has no layer`, {
      facts: { key: record.key, id: record.id },
      next: 'remove it and what stands on it, then pull the image again',
    });
  });
  return oldestFirst(newestFirst(places));
}

async function fill(
  context: Context,
  folder: SnapshotFolder,
  record: SnapshotRecord,
  layers: OldestFirst<LayerPlace>,
  signal: AbortSignal | undefined,
): Promise<void> {
  await mkdir(folder.path, { mode: 0o700 });
  await mark(folder.ownMarker);
  await writeFile(folder.marker, '');
  await mkdir(folder.upper, { mode: 0o755 });
  if (record.role === 'container') {
    const root = await chainRootAttributes(pathsOf(layers, context.paths));
    const bytes = record.writableBytes ?? context.defaultSize;
    await context.writable.create({ path: folder.writable, bytes, root, ...(signal ? { signal } : {}) });
  }
  await writeRecordFile(context, record);
  await syncFolder(context.paths.snapshots);
}

/** The commit point. Parent and key are checked again: both may have changed while the folder was filled. */
function insert(context: Context, record: SnapshotRecord): Promise<void> {
  return context.store.exclusive(`insert ${record.kind}`, async (tx) => {
    if (record.parent !== '') await usableParent(tx, record.parent);
    await mustBeFree(tx, record.key, 'key');
    await tx.insert(record);
  });
}

/** How a snapshot that is not committed is served; every such record carries it. */
export function serveOf(record: SnapshotRecord): Serve {
  if (record.serve) return record.serve;
  throw new SnapshotterError(
    'data-loss',
    `the record of snapshot ${JSON.stringify(record.key)} does not say how it is served`,
    {
      facts: { key: record.key, id: record.id },
      next: 'remove this snapshot and prepare it again',
    },
  );
}
