import { mkdir, writeFile } from 'node:fs/promises';

import { chainIdOf } from '../chain-id.js';
import { CodedError } from '../errors.js';
import { asCodedError, diskUsage, syncFolder, wallClock } from '../host/index.js';
import { shareLayer, type HeldLayer, type LayerRecord } from '../layers/index.js';
import type { CommittedRecord } from '../metadata/index.js';
import { isoOf } from '../timestamps.js';
import { isDigest, snapshotRefLabel, type Digest } from '../vocabulary.js';
import type { Context } from './context.js';
import { protect } from './protect.js';
import { mark } from './ownership.js';
import { mustBeFree, usableParent, writeRecordFile } from './records.js';
import { keptLabels, type CreateRequest } from './requests.js';
import { mayBeAdopted, mayShare, labelledLayer, type LabelledLayer } from './sharing.js';
import { discardFolder, giveUp } from './trash.js';

/**
 * Answers a Prepare whose labels name a layer that is here: nothing is pulled or converted then. The layer stands on the given
 * parent already, or is put there, as a snapshot under a name of its own. Returns when there is no such layer, and the snapshot
 * must be prepared as any other.
 *
 * @throws CodedError `already-exists` when a List for this chain ID and parent finds the layer; as `usableParent`
 */
export async function refuseWhatIsHere(context: Context, request: CreateRequest): Promise<void> {
  const named = labelledLayer(request.labels, context.log);
  if (!named) return;
  const parent = request.parent === '' ? undefined : await usableParent(context.store, request.parent);
  const below = parent && (await chainIdBelow(context, parent, request.namespace));
  const parentIsKnown = !parent || below !== undefined;
  // A chain ID that the diff ID does not lead to belongs to another parent, or to nothing.
  if (parentIsKnown && named.diffId !== undefined && chainIdOf(below, named.diffId) !== named.ref) {
    logged(context, request, 'its chain ID does not follow from its diff ID and its parent');
    return;
  }
  await mustNotBeThere(context, named, request);
  if (!parentIsKnown) {
    logged(context, request, 'the chain ID of its parent is not known');
    return;
  }
  await context.sharing.run(`${named.ref} ${request.parent}`, async () => {
    await mustNotBeThere(context, named, request);
    request.signal?.throwIfAborted();
    const diffId = diffIdOf(context, named, below);
    const name = diffId && (await shareOn(context, diffId, parent, request));
    if (name !== undefined) throw alreadyHere(named, name);
  });
}

/** The measured chain ID; else the label, which a caller that names the parent has to know. */
async function chainIdBelow(
  { chainIds }: Context,
  parent: CommittedRecord,
  namespace: string | undefined,
): Promise<Digest | undefined> {
  const measured = await chainIds.measure(parent);
  if (measured !== undefined) return measured;
  const label = parent.labels[snapshotRefLabel];
  return parent.namespace === namespace && label !== undefined && isDigest(label) ? label : undefined;
}

function logged({ log }: Context, { key, parent, labels }: CreateRequest, why: string): void {
  log.debug({ key, parent, ref: labels[snapshotRefLabel] }, `a layer is not looked for: ${why}`);
}

async function mustNotBeThere(context: Context, named: LabelledLayer, request: CreateRequest): Promise<void> {
  for (const record of await context.store.withRef(named.ref)) {
    if (record.parent !== request.parent) continue;
    if (await mayBeAdopted(context, record, named.ref, request.namespace)) throw alreadyHere(named, record.key);
  }
}

function alreadyHere({ ref }: LabelledLayer, name: string): CodedError {
  return new CodedError('already-exists', `the layer ${ref} is here: snapshot ${JSON.stringify(name)}`, {
    facts: { ref, name },
    next: 'list the committed snapshots with this label and parent, and use what is found',
  });
}

/**
 * The layer's diff ID. When the caller names none, it is the one of the layers here from which the chain ID follows: about
 * 2 ms for a thousand different layers.
 */
function diffIdOf({ layers }: Context, { ref, diffId }: LabelledLayer, below: Digest | undefined): Digest | undefined {
  return diffId ?? layers.diffIds().find((one) => chainIdOf(below, one) === ref);
}

/** @returns the name of a new committed snapshot with the layer, or undefined when no holder's layer can be shared */
async function shareOn(
  context: Context,
  diffId: Digest,
  parent: CommittedRecord | undefined,
  request: CreateRequest,
): Promise<string | undefined> {
  const { layers, store, paths } = context;
  const holders = layers
    .find(diffId)
    .filter(
      ({ layer, namespace }) => layer.applied?.diffId === diffId && mayShare(context, request.namespace, namespace),
    );
  if (holders.length === 0) return undefined;
  const id = store.reserveId();
  const key = nameOf(id);
  try {
    const layer = await fill(context, id, holders);
    if (!layer) {
      await discardFolder(context, id);
      return undefined;
    }
    const record = await recordOf(context, { id, key, layer, parent, request });
    await writeRecordFile(context, record);
    await syncFolder(paths.snapshots);
    await insert(context, record, parent);
    layers.add({ id, layer, namespace: record.namespace });
    if (context.setImmutable) await protect(context, paths.snapshot(id).layer(layer.file));
    return key;
  } catch (error) {
    await giveUp(context, key, id);
    throw asCodedError(error, `sharing the layer ${diffId}`, paths.root);
  }
}

/**
 * No name of containerd's: those are `<namespace>/<n>/<key>`, with a number and two slashes at least.
 */
function nameOf(id: number): string {
  return `shared-layer/${id}`;
}

/** @returns the layer of the first holder whose file is whole; it then has another name in the folder of snapshot `id` */
async function fill(context: Context, id: number, holders: readonly HeldLayer[]): Promise<LayerRecord | undefined> {
  const { paths, log } = context;
  const folder = paths.snapshot(id);
  await mkdir(folder.path, { mode: 0o700 });
  await mark(folder.ownMarker);
  await writeFile(folder.marker, '');
  for (const held of holders) {
    try {
      await shareLayer(paths.snapshot(held.id).path, held.layer, folder.path);
      return held.layer;
    } catch (error) {
      log.warn({ err: error, snapshot: held.id }, 'a layer that is here already cannot be shared');
    }
  }
  return undefined;
}

interface Shared {
  readonly id: number;
  readonly key: string;
  readonly layer: LayerRecord;
  readonly parent: CommittedRecord | undefined;
  readonly request: CreateRequest;
}

async function recordOf({ paths }: Context, { id, key, layer, parent, request }: Shared): Promise<CommittedRecord> {
  const now = isoOf(wallClock());
  return {
    id,
    key,
    kind: 'committed',
    parent: parent?.key ?? '',
    labels: keptLabels(request.labels),
    createdAt: now,
    updatedAt: now,
    role: 'extract',
    namespace: request.namespace,
    layer,
    usage: await diskUsage(paths.snapshot(id).layer(layer.file)),
    revision: 1,
  };
}

/** The commit point. The parent is looked at again: another may have its name by now. */
function insert({ store }: Context, record: CommittedRecord, parent: CommittedRecord | undefined): Promise<void> {
  return store.exclusive('share a layer', async (tx) => {
    if (parent && (await usableParent(tx, parent.key)).id !== parent.id) {
      throw new CodedError('unavailable', `parent snapshot ${JSON.stringify(parent.key)} was replaced meanwhile`, {
        facts: { parent: parent.key },
        next: 'prepare the snapshot again',
      });
    }
    await mustBeFree(tx, record.key, 'name');
    await tx.insert(record);
  });
}
