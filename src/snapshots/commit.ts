import { rm } from 'node:fs/promises';

import { convertDirectory, snapshotUuid, type ConvertDirectoryOptions } from '../erofs/index.js';
import { CodedError } from '../errors.js';
import {
  asCodedError,
  diskUsage,
  exists,
  PrivateMounts,
  removeTree,
  temporaryBeside,
  wallClock,
} from '../host/index.js';
import {
  checkUnchanged,
  overlayNotes,
  publishConvertedLayer,
  withdrawLayers,
  type LayerRecord,
} from '../layers/index.js';
import {
  checkKey,
  checkLabels,
  type CommittedRecord,
  type ContainerRecord,
  type ExtractRecord,
} from '../metadata/index.js';
import { withScope } from '../scope.js';
import { isoOf } from '../timestamps.js';
import type { Labels } from '../vocabulary.js';
import type { Context } from './context.js';
import { mustBeWholeUpper } from './guest/upper.js';
import { mountUpper } from './guest/mount.js';
import type { SnapshotFolder } from './paths.js';
import { protect } from './protect.js';
import { existing, isRecorded, mustBeFree, mustBeSound, usableParent, writeRecordFileWith } from './records.js';
import { isQuiesced, keptLabels } from './requests.js';

export interface CommitRequest {
  readonly name: string;
  readonly key: string;
  /** With the capability `rebase`: the parent of a layer that was unpacked without one. */
  readonly parent?: string;
  readonly labels: Labels;
  readonly signal?: AbortSignal;
}

type ActiveRecord = ExtractRecord | ContainerRecord;

/** What is committed, and where its content is. */
interface Located {
  readonly record: ActiveRecord;
  readonly folder: SnapshotFolder;
  readonly parent: string;
  readonly source: Source;
}

/** Content that must be converted, or a layer that Apply has converted already. */
type Source =
  | { readonly kind: 'layer'; readonly layer: LayerRecord }
  | { readonly kind: 'folder'; readonly path: string }
  | { readonly kind: 'image'; readonly path: string };

/** A layer in its place, whose bytes are safe. */
interface Published {
  readonly located: Located;
  readonly layer: LayerRecord;
}

/**
 * locate → convert → verify → publish → record → reclaim. `record` is the only commit point: before it, whatever fails takes
 * the layer it made with it; after it, nothing fails the call.
 */
export async function commitSnapshot(context: Context, request: CommitRequest): Promise<void> {
  checkKey(request.name, 'name');
  checkLabels(request.labels);
  await context.keys.run(request.key, async () => {
    const located = await locate(context, request);
    try {
      const published = await convertAndPublish(context, located, request);
      await recordCommit(context, published, request);
    } catch (error) {
      await withdraw(context, located);
      throw asCodedError(error, `committing ${JSON.stringify(request.key)}`, located.folder.path);
    }
    await reclaim(context, located.folder);
  });
}

async function locate(context: Context, request: CommitRequest): Promise<Located> {
  const { store, paths } = context;
  // The name first: a Commit that is sent again since its answer was lost finds it taken, and its key gone.
  await mustBeFree(store, request.name, 'name');
  const record = await existing(store, request.key);
  if (record.kind !== 'active') {
    throw new CodedError(
      'failed-precondition',
      `snapshot ${JSON.stringify(record.key)} is ${record.kind}, not active`,
      {
        facts: { key: record.key, kind: record.kind },
        next: 'commit a snapshot that Prepare made',
      },
    );
  }
  mustBeSound(record);
  const parent = parentAtCommit(record, request.parent ?? '');
  if (parent !== '') await usableParent(store, parent);
  const folder = paths.snapshot(record.id);
  return { record, folder, parent, source: await locateSource(record, folder, parent) };
}

/** @throws CodedError `invalid-argument` when the snapshot already stands on another parent */
function parentAtCommit(record: ActiveRecord, given: string): string {
  if (given === '' || given === record.parent) return record.parent;
  if (record.parent === '') return given;
  throw new CodedError(
    'invalid-argument',
    `snapshot ${JSON.stringify(record.key)} stands on ${JSON.stringify(record.parent)} and cannot be committed on ${JSON.stringify(given)}`,
    { facts: { key: record.key, parent: record.parent }, next: 'name its own parent, or none' },
  );
}

/**
 * Block mode when the snapshot has a writable layer: what the guest wrote is the `upper/` in it. Else a layer that Apply
 * published, else overlay mode: `fs/`.
 *
 * @throws CodedError `failed-precondition` for a container whose writable layer is lost (`fs/` would make an empty layer
 *   of it), and for what another differ unpacked for a parent, whether that was named at Prepare or only at Commit
 */
async function locateSource(record: ActiveRecord, folder: SnapshotFolder, parent: string): Promise<Source> {
  if (await exists(folder.writable)) return { kind: 'image', path: folder.writable };
  if (record.role !== 'extract') throw writableLost(record, folder.writable);
  if (record.layer) {
    await checkUnchanged(folder.layer(record.layer.file), record.layer);
    return { kind: 'layer', layer: record.layer };
  }
  if (parent !== '') throw foreignUnpack(record, parent);
  return { kind: 'folder', path: folder.upper };
}

function writableLost({ key }: ContainerRecord, path: string): CodedError {
  return new CodedError(
    'failed-precondition',
    `snapshot ${JSON.stringify(key)} cannot be committed: its writable layer ${path} is missing`,
    { facts: { key, path }, next: 'put the file back, or remove this snapshot' },
  );
}

function foreignUnpack(record: ActiveRecord, parent: string): CodedError {
  return new CodedError(
    'failed-precondition',
    `snapshot ${JSON.stringify(record.key)} was unpacked by another differ, which loses the files that its layer deletes`,
    {
      facts: { key: record.key, parent },
      next: 'put this differ first: default = ["spin-erofs-diff", …] of the diff-service plugin, and differ = "spin-erofs-diff" in the transfer service\'s unpack_config (config/containerd-config.toml)',
    },
  );
}

async function convertAndPublish(context: Context, located: Located, request: CommitRequest): Promise<Published> {
  const { source, folder } = located;
  if (source.kind === 'layer') return { located, layer: source.layer };
  const output = temporaryBeside(folder.layer('layer.erofs'));
  try {
    const superblock = await context.slots.run(
      () =>
        source.kind === 'folder'
          ? convertFolder(context, source.path, output, request)
          : convertImage(context, folder, output, request),
      request.signal,
    );
    return { located, layer: await publishConvertedLayer(folder.path, output, superblock) };
  } finally {
    await rm(output, { force: true });
  }
}

type Conversion = Pick<ConvertDirectoryOptions, 'directory' | 'output' | 'mountNamespace' | 'notes'>;

function convert(context: Context, conversion: Conversion, { name, signal }: CommitRequest) {
  const uuid = snapshotUuid(name);
  const deadlineMs = context.conversionTimeoutMs;
  return convertDirectory({ ...conversion, uuid, deadlineMs, signal });
}

async function convertFolder(context: Context, directory: string, output: string, request: CommitRequest) {
  return convert(context, { directory, notes: await overlayNotes(directory), output }, request);
}

/** Reads `upper/` of the ext4 image through a read-only mount that lasts no longer than the conversion. */
function convertImage(context: Context, folder: SnapshotFolder, output: string, request: CommitRequest) {
  const { labels, signal } = request;
  return withScope(context.log, async (scope) => {
    const mounts = await PrivateMounts.open(context.paths.snapshots);
    scope.defer('mounts', () => mounts.close());
    const upper = await mountUpper(scope, mounts, folder, {
      quiesced: isQuiesced(labels),
      guestDisks: context.guestDisks,
      signal,
    });
    const bytes = await mustBeWholeUpper(upper);
    const what = `converting what ${JSON.stringify(request.key)} wrote`;
    const conversion = { directory: upper.inside, notes: upper.notes, mountNamespace: mounts.namespace, output };
    return context.space.holding(folder.path, bytes, what, () => convert(context, conversion, request));
  });
}

/** The commit point. Name and parent are checked again: both may have changed while the content was converted. */
async function recordCommit(context: Context, { located, layer }: Published, request: CommitRequest): Promise<void> {
  const { record: active, folder, parent } = located;
  const usage = await diskUsage(folder.layer(layer.file));
  await context.store.exclusive('commit', async (tx) => {
    await mustBeFree(tx, request.name, 'name');
    if (parent !== '') await usableParent(tx, parent);
    const now = isoOf(wallClock());
    const committed: CommittedRecord = {
      id: active.id,
      key: request.name,
      kind: 'committed',
      parent,
      labels: keptLabels(request.labels),
      createdAt: now,
      updatedAt: now,
      role: active.role,
      namespace: active.namespace,
      layer,
      usage,
    };
    await writeRecordFileWith(context, tx, await tx.rename(active.key, committed));
  });
  context.layers.add({ id: active.id, layer, namespace: active.namespace });
  if (context.setImmutable) await protect(context, folder.layer(layer.file));
}

/** A layer that Apply made stays for the next try; one made here must not be found by it. */
async function withdraw(context: Context, { record: active, folder, source }: Located): Promise<void> {
  const { store } = context;
  try {
    if (!(await isRecorded(store, active.key, active.id))) return;
    if (source.kind !== 'layer') await withdrawLayers(folder.path);
  } catch (error) {
    context.unsettled.add(active.id);
    context.log.error({ err: error, key: active.key }, 'could not take back what a failed commit made');
  }
}

/** Erases what the layer now holds. The commit stands, so a failure is only logged; the next start tries again. */
export async function reclaim(context: Pick<Context, 'log'>, folder: SnapshotFolder): Promise<void> {
  for (const path of [folder.writable, folder.upper]) {
    try {
      await removeTree(path);
    } catch (error) {
      context.log.warn({ err: error, path }, 'could not erase what was committed into a layer');
    }
  }
}
