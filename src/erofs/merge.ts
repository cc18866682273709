import { SnapshotterError } from '../errors.js';
import { EarlyFlush } from '../host/index.js';
import { mapOldestFirst, type OldestFirst } from '../vocabulary.js';
import { mergeArguments } from './args.js';
import { verifyDevices, type Layer, type MergedImage } from './devices.js';
import { findInheritance, inherit } from './inherit.js';
import { makeImage, type ImageOptions } from './mkfs.js';
import { mergedUuid } from './uuid.js';
import { verifyLayer } from './verify.js';

export interface MergeOptions extends ImageOptions {
  /** Paths of one layer or more. */
  readonly layers: OldestFirst<string>;
}

/**
 * Merges layers into one image that holds their metadata and refers to their data. The same layers give the same bytes.
 *
 * mkfs.erofs up to 1.9.4 gives every merged root the mode 0777 and the owner root, whatever the layers say, and takes a directory
 * that a layer only implies for one that it describes; both are mended. Hard links to symlinks, devices and fifos become files of
 * their own, and xattrs of the root and of implied directories are not carried over.
 *
 * @throws SnapshotterError `data-loss` when a layer is damaged; `internal` when the tool refuses these layers or its output is
 *   not what was asked for; else as `run` does.
 */
export async function mergeLayers(o: MergeOptions): Promise<MergedImage> {
  const { layers: paths, output, signal } = o;
  if (paths.length === 0) throw new SnapshotterError('invalid-argument', 'there are no layers to merge');
  const verified = await Promise.all(paths.map(async (path) => ({ path, superblock: await verifyLayer(path) })));
  const layers = verified as unknown as OldestFirst<Layer>;
  const uuid = mergedUuid(mapOldestFirst(layers, ({ superblock }) => superblock.uuid));
  // The layers alone tell, so this need not wait for the tool.
  const inheritance = findInheritance(layers, signal);
  let fault: unknown;
  inheritance.catch((error: unknown) => (fault = error));
  const early = new EarlyFlush(output);
  try {
    return await makeImage(o, {
      what: `merging ${paths.length} layers`,
      args: mergeArguments({ output, uuid, layers: paths }),
      check: async () => {
        // Whoever publishes the image waits for the disk; it can begin with what the tool wrote while that is checked and mended.
        early.start();
        await verifyDevices(output, layers);
        await inherit(output, await inheritance);
        await early.settle();
        early.check();
        return verifyDevices(output, layers);
      },
    });
  } catch (error) {
    // What is wrong with a layer is not the tool's failure.
    throw fault instanceof SnapshotterError ? fault : error;
  } finally {
    await Promise.allSettled([inheritance, early.settle()]);
  }
}
