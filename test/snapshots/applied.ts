import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { convertDirectory, layerUuid } from '../../src/erofs/index.js';
import { chainIdOf } from '../../src/chain-id.js';
import type { Snapshotter } from '../../src/snapshots/index.js';
import { snapshotRefLabel, type Digest, type Labels, type Mount } from '../../src/vocabulary.js';

/** A digest that is easy to tell from others: one hex digit, 64 times. */
export const digestOf = (digit: string): Digest => `sha256:${digit.repeat(64)}`;

/** The chain ID of these diff IDs, oldest first. */
export function chainOf(...diffIds: readonly Digest[]): Digest {
  const [first, ...rest] = diffIds as readonly [Digest, ...Digest[]];
  return rest.reduce<Digest>((chain, diffId) => chainIdOf(chain, diffId), first);
}

export interface AppliedOptions {
  readonly parent?: string;
  readonly diffId: Digest;
  /** Digest of the blob; that of the tar when not given. */
  readonly digest?: Digest;
  readonly ref?: string;
  readonly namespace?: string;
}

/** Commits a layer whose diff ID this daemon measured, as containerd's unpacker does by Prepare, Apply and Commit. */
export async function commitApplied(snapshotter: Snapshotter, name: string, options: AppliedOptions): Promise<void> {
  const { parent = '', diffId, digest = diffId, ref, namespace } = options;
  const labels: Labels = ref === undefined ? {} : { [snapshotRefLabel]: ref };
  const key = `x/extract-${name.replaceAll('/', '-')}`;
  await applyTo(snapshotter, await snapshotter.prepare({ key, parent, labels, namespace }), diffId, digest);
  await snapshotter.commit({ name, key, labels });
}

/** What Apply does once it has content: an image with one file becomes the layer of the snapshot with these mounts. */
export async function applyTo(
  snapshotter: Snapshotter,
  [bind]: readonly Mount[],
  diffId: Digest,
  digest = diffId,
): Promise<void> {
  const target = await snapshotter.extractTarget([bind!]);
  const output = target.temporary('layer.erofs');
  await writeFile(join(bind!.source, 'file'), `of ${diffId}\n`);
  const made = { directory: bind!.source, output, uuid: layerUuid(digest), deadlineMs: 60_000 };
  await target.publishLayer(output, { digest, diffId, tarBytes: 10_240, superblock: await convertDirectory(made) });
}
