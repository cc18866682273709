import { randomBytes } from 'node:crypto';
import type { Differ, Snapshots } from '../../containerd/index.js';
import { isCode } from '../../errors.js';
import type { Logger } from '../../log.js';
import type { Descriptor, Digest, Labels, Mount } from '../../vocabulary.js';
import { diffIdLabel, parseDigest, snapshotRefLabel } from '../../vocabulary.js';
import { anotherLayer } from './words.js';

/** A layer that lies in containerd's content store as a tar, compressed or not. */
export interface LayerBlob {
  readonly blob: Descriptor;
  /** Where containerd has the blob. */
  readonly namespace: string;
}

export interface ChainTools {
  readonly snapshots: Snapshots;
  readonly differ: Differ;
  readonly log: Logger;
}

/** A key of its own for a snapshot that takes a layer: the last part's beginning says so to the snapshotter. */
export function extractKey(): string {
  return `extract-spfs-${randomBytes(12).toString('hex')}`;
}

export interface UnpackOptions extends LayerBlob {
  /** What Prepare answered for `key`. */
  readonly mounts: readonly Mount[];
  readonly key: string;
  /** The layer that the blob must have; any when not given. */
  readonly layer?: Digest;
  /** The name to commit it under. */
  readonly nameOf: (layer: Digest) => Digest;
  readonly lease: string;
  readonly signal: AbortSignal;
}

/**
 * Unpacks a blob into a snapshot that is prepared for it, and commits it. The key is the caller's to discard when this fails.
 *
 * @returns the diff ID.
 * @throws CodedError `data-loss` the blob has another layer; what the differ and the snapshotter answer
 */
export async function unpackInto({ snapshots, differ, log }: ChainTools, o: UnpackOptions): Promise<Digest> {
  const { key, lease, signal } = o;
  const applied = await differ.apply({ blob: o.blob, namespace: o.namespace, mounts: o.mounts, signal });
  const layer = parseDigest(applied.digest, 'the diff ID of the layer');
  if (o.layer !== undefined && layer !== o.layer) throw anotherLayer(o.layer, layer, o.blob.digest);
  const name = o.nameOf(layer);
  const labels: Labels = { [snapshotRefLabel]: name, [diffIdLabel]: layer };
  try {
    await snapshots.commit({ name, key, labels, lease, signal });
  } catch (error) {
    // Another client was quicker: the lease has its layer now, and this one is superfluous.
    if (!isCode(error, 'already-exists')) throw error;
    await discard(snapshots, key, log);
  }
  log.info({ layer, snapshot: name, blob: o.blob.digest }, 'unpacked a layer');
  return layer;
}

/**
 * Removes an active snapshot, when there is one. What stays is under the caller's lease, and goes with it: a failure is no news,
 * least of all where what failed before failed for the same reason.
 */
export async function discard(snapshots: Snapshots, key: string, log: Logger): Promise<void> {
  await snapshots.remove(key).catch((error: unknown) => {
    if (!isCode(error, 'not-found')) log.debug({ err: error, key }, 'could not remove an unfinished snapshot');
  });
}
