import { CodedError } from '../errors.js';
import { temporaryBeside, wallClock } from '../host/index.js';
import {
  keepLayer,
  publishAppliedLayer,
  shareLayer,
  type ExpectedLayer,
  type ExtractTarget,
  type HeldLayer,
  type LayerRecord,
  type LayerTar,
  withdrawLayers,
} from '../layers/index.js';
import { layerOf, type ExtractRecord, type SnapshotRecord } from '../metadata/index.js';
import { isoOf } from '../timestamps.js';
import { diffIdLabel, isDigest, type Digest, type Mount } from '../vocabulary.js';
import type { Context } from './context.js';
import { existing, mustBeSound, writeRecordFileWith } from './records.js';
import { mayShare } from './sharing.js';

const upperdir = 'upperdir=';

/**
 * Finds the extract snapshot whose Prepare gave these mounts. containerd passes them on as they were, or turns the lone bind
 * into an overlay with only an `upperdir=`.
 *
 * @throws CodedError `not-mine` when no path of the list lies below our root; `invalid-argument` when the list mixes
 *   ours with others or leaves the root by `..`; `not-found`, `failed-precondition` when the snapshot cannot take a layer
 */
export async function findExtractTarget(context: Context, mounts: readonly Mount[]): Promise<ExtractTarget> {
  const id = extractId(context, mounts);
  const record = await context.store.byId(id);
  if (!record) {
    throw new CodedError('not-found', `the mounts are those of snapshot ${id}, which does not exist`, {
      facts: { id },
      next: 'prepare the layer again',
    });
  }
  mustTakeLayers(record);
  return targetOf(context, record);
}

function targetOf(context: Context, record: ExtractRecord): ExtractTarget {
  const { id, key, labels } = record;
  const folder = context.paths.snapshot(id);
  const stated = labels[diffIdLabel];
  return {
    id,
    diffId: stated !== undefined && isDigest(stated) ? stated : undefined,
    temporary: (purpose) => temporaryBeside(folder.layer(purpose)),
    publishLayer: (temporaryPath, layer) =>
      whileExtracting(context, key, id, async () => {
        try {
          await recordLayer(context, key, id, await publishAppliedLayer(folder.path, temporaryPath, layer));
        } finally {
          await keepRecorded(context, key, id);
        }
      }),
    adoptLayer: (digest) => whileExtracting(context, key, id, () => adopt(context, record, digest)),
  };
}

/** What the differ is told of an extract snapshot that was just prepared. */
export function expectedLayerOf(context: Context, record: ExtractRecord): ExpectedLayer {
  return {
    snapshot: record.id,
    namespace: record.namespace,
    position: async () => (await context.store.chain(record.parent)).length,
    temporary: (purpose) => temporaryBeside(context.paths.ahead(purpose)),
    holds: (digest) => holdersFor(context, record, digest).length > 0,
  };
}

/**
 * Commit and Remove come before `work` or after it: an Apply that ends late must not change the layer of what was committed
 * meanwhile, or of another snapshot that has the key now.
 */
function whileExtracting<T>({ keys, store }: Context, key: string, id: number, work: () => Promise<T>): Promise<T> {
  return keys.run(key, async () => {
    const record = await existing(store, key);
    mustTakeLayers(record);
    if (record.id === id) return work();
    throw new CodedError('not-found', `snapshot ${JSON.stringify(key)} was removed while its layer was applied`, {
      facts: { key, id },
      next: 'apply the layer to the mounts of the new snapshot',
    });
  });
}

/** Takes away what the record does not name: the layer before, or that of an Apply which failed. */
async function keepRecorded(context: Context, key: string, id: number): Promise<void> {
  const { store, paths, log, unsettled } = context;
  try {
    const { path } = paths.snapshot(id);
    const layer = layerOf(await existing(store, key));
    await (layer ? keepLayer(path, layer) : withdrawLayers(path));
  } catch (error) {
    log.error({ err: error, key }, 'could not take away a layer that the record of a snapshot does not name');
    unsettled.add(id);
  }
}

/** What Apply did is known to Commit by the record alone. */
async function recordLayer(context: Context, key: string, id: number, layer: LayerRecord): Promise<void> {
  const namespace = await context.store.exclusive('apply', async (tx) => {
    const record = await existing(tx, key);
    mustTakeLayers(record);
    const after = await tx.replace({ ...record, layer, updatedAt: isoOf(wallClock()) });
    await writeRecordFileWith(context, tx, after);
    return after.namespace;
  });
  context.layers.add({ id, layer, namespace });
}

/** Those that hold the layer, and may share it with this snapshot. */
function holdersFor(context: Context, { id, namespace }: ExtractRecord, digest: Digest): readonly HeldLayer[] {
  return context.layers.find(digest).filter((held) => held.id === id || mayShare(context, namespace, held.namespace));
}

async function adopt(context: Context, record: ExtractRecord, digest: Digest): Promise<LayerTar | undefined> {
  const { paths, log } = context;
  const { id, key } = record;
  for (const held of holdersFor(context, record, digest)) {
    const { applied } = held.layer;
    if (!applied) continue;
    try {
      if (held.id !== id) await shareLayer(paths.snapshot(held.id).path, held.layer, paths.snapshot(id).path);
    } catch (error) {
      log.warn({ err: error, snapshot: held.id, digest }, 'a layer that is here already cannot be shared');
      continue;
    }
    try {
      await recordLayer(context, key, id, held.layer);
    } finally {
      await keepRecorded(context, key, id);
    }
    return { diffId: applied.diffId, tarBytes: applied.tarBytes };
  }
  return undefined;
}

function mustTakeLayers(record: SnapshotRecord): asserts record is ExtractRecord {
  mustBeSound(record);
  if (record.kind === 'active' && record.role === 'extract') return;
  throw new CodedError(
    'failed-precondition',
    `snapshot ${JSON.stringify(record.key)} is not one to extract a layer into`,
    {
      facts: { key: record.key, kind: record.kind, role: record.role },
      next: 'apply layers to an active snapshot whose key\'s last path part starts with "extract-"',
    },
  );
}

function extractId({ paths }: Context, mounts: readonly Mount[]): number {
  const named = mounts.flatMap(pathsNamedBy);
  if (!named.some((path) => claimsToBeBelow(path, paths.root))) {
    throw new CodedError('not-mine', 'these mounts are not of this snapshotter', {
      facts: { mounts: mounts.map(({ type, source }) => `${type} ${source}`) },
    });
  }
  const outside = named.find((path) => !paths.contains(path));
  if (outside !== undefined) {
    throw new CodedError('invalid-argument', `the mounts name ${JSON.stringify(outside)}, outside ${paths.root}`, {
      facts: { path: outside, root: paths.root },
      next: 'pass on the mounts that Prepare answered, unchanged',
    });
  }
  const only = named.length === 1 ? named[0] : undefined;
  const id = only === undefined ? undefined : paths.idOfUpper(only);
  if (id !== undefined) return id;
  throw new CodedError('invalid-argument', `a layer cannot be applied to ${named.join(', ')}`, {
    facts: { paths: named },
    next: 'apply it to the mounts of a snapshot whose key\'s last path part starts with "extract-"',
  });
}

/** Every host path that a mount would read or write. `none` and the filesystem's own name are not paths. */
export function pathsNamedBy({ source, options }: Mount): string[] {
  const fromOptions = options.flatMap((option) => {
    if (option.startsWith(upperdir)) return [option.slice(upperdir.length)];
    return /^(lowerdir|workdir|device)[^=]*=/.test(option) ? option.slice(option.indexOf('=') + 1).split(':') : [];
  });
  return [...(source.startsWith('/') ? [source] : []), ...fromOptions];
}

/** By its spelling, before `..` is resolved. */
export function claimsToBeBelow(path: string, root: string): boolean {
  return path === root || path.startsWith(`${root}/`);
}
