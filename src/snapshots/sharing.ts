import { checkUnchanged, isConvertedAsNow } from '../layers/index.js';
import type { Logger } from '../log.js';
import type { SnapshotRecord } from '../metadata/index.js';
import { diffIdLabel, isDigest, snapshotRefLabel, type Digest, type Labels } from '../vocabulary.js';
import type { Context } from './context.js';
import { mustBeSound } from './records.js';

/** A layer that a Prepare names by its labels, so that it need not be pulled when it is here. */
export interface LabelledLayer {
  /** Chain ID of the layer on its parent. */
  readonly ref: Digest;
  readonly diffId: Digest | undefined;
}

/** @returns undefined when the labels name no layer; labels that are no digests are logged and name none */
export function labelledLayer(labels: Labels, log: Pick<Logger, 'warn'>): LabelledLayer | undefined {
  const ref = labels[snapshotRefLabel];
  if (ref === undefined) return undefined;
  const diffId = labels[diffIdLabel];
  if (isDigest(ref) && (diffId === undefined || isDigest(diffId))) return { ref, diffId };
  const given = { ref: ref.slice(0, 100), diffId: diffId?.slice(0, 100) };
  log.warn(given, 'a label that should name the layer to prepare is no sha256 digest: the layer is not looked for');
  return undefined;
}

/** Whether a layer made for the namespace `owner` may become part of a snapshot of `asking`. */
export function mayShare(
  { shareLayers }: Pick<Context, 'shareLayers'>,
  asking: string | undefined,
  owner: string | undefined,
): boolean {
  return shareLayers === 'all' || asking === owner;
}

/**
 * Whether a snapshot may be adopted as the layer `ref` by a caller of the namespace `asking`. Its label is a claim
 * of the client that made it: another namespace's is believed only where this daemon measured the same. A layer that was converted
 * by older rules stays with its snapshot.
 */
export async function mayBeAdopted(
  context: Context,
  record: SnapshotRecord,
  ref: string,
  asking: string | undefined,
): Promise<boolean> {
  const { chainIds, paths, log } = context;
  if (record.kind !== 'committed') return false;
  const { id, key, layer, namespace } = record;
  if (!layer || !mayShare(context, asking, namespace)) return false;
  if (!isConvertedAsNow(layer)) return false;
  const measured = await chainIds.measure(record);
  if (measured === undefined ? asking !== namespace : measured !== ref) return false;
  try {
    mustBeSound(record);
    await checkUnchanged(paths.snapshot(id).layer(layer.file), layer);
    return true;
  } catch (error) {
    log.warn(
      { err: error, key, snapshot: id, ref },
      'a snapshot that has this layer is damaged and is not given to others',
    );
    return false;
  }
}
