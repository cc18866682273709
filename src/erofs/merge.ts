import { SnapshotterError } from '../errors.js';
import type { OldestFirst, RootAttributes } from '../vocabulary.js';
import { mergeArguments } from './args.js';
import { verifyMerged, type MergedImage } from './devices.js';
import { makeImage, type ImageOptions } from './mkfs.js';
import { isUnsaid } from './mend.js';
import { mendRoot, readRootAttributes, unsaidRoot } from './root-inode.js';
import { mergedUuid } from './uuid.js';
import { verifyLayer } from './verify.js';

export interface MergeOptions extends ImageOptions {
  /** Paths of one layer or more. */
  readonly layers: OldestFirst<string>;
}

/**
 * Merges layers into one image that holds their metadata and refers to their data. The same layers give the same bytes.
 *
 * mkfs.erofs up to 1.9.4 gives every merged root the mode 0777 and the owner root, whatever the layers say, so the root is
 * mended. Hard links to symlinks, devices and fifos become files of their own, and the root's xattrs are not carried over.
 *
 * @throws SnapshotterError `data-loss` when a layer is damaged; `internal` when the tool refuses these layers or its output is
 *   not what was asked for; else as `run` does.
 */
export async function mergeLayers(o: MergeOptions): Promise<MergedImage> {
  const { layers, output } = o;
  if (layers.length === 0) throw new SnapshotterError('invalid-argument', 'there are no layers to merge');
  const superblocks = await Promise.all(layers.map((layer) => verifyLayer(layer)));
  const root = await chainRootAttributes(layers);
  const uuids = superblocks.map(({ uuid }) => uuid) as unknown as OldestFirst<string>;
  return makeImage(o, {
    what: `merging ${layers.length} layers`,
    args: mergeArguments({ output, uuid: mergedUuid(uuids), layers }),
    check: async () => {
      await verifyMerged(output, layers);
      await mendRoot(output, root);
      return verifyMerged(output, layers);
    },
  });
}

/**
 * The root directory of a chain: that of its newest layer that describes one, since a layer whose tar has no entry for it
 * changes nothing; else 0755 root:root at time 0.
 *
 * @throws SnapshotterError as `readSuperblock` does.
 */
export async function chainRootAttributes(layers: OldestFirst<string>): Promise<RootAttributes> {
  const roots = await Promise.all(layers.map((layer) => readRootAttributes(layer)));
  return roots.findLast((root) => !isUnsaid(root)) ?? unsaidRoot;
}
