import { SnapshotterError } from '../errors.js';
import { EarlyFlush } from '../host/index.js';
import { mapOldestFirst, type OldestFirst } from '../vocabulary.js';
import { mergeArguments } from './args.js';
import { verifyDevices, type Layer, type MergedImage } from './devices.js';
import { findInheritance, inherit, type Inheritance } from './inherit.js';
import { makeImage, type ImageOptions } from './mkfs.js';
import { readSuperblockOf, renewChecksum, withImage, writeUuid } from './superblock.js';
import { blameLayer, refuseUnmergeable } from './unmergeable.js';
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
  const { layers: paths, output } = o;
  if (paths.length === 0) throw new SnapshotterError('invalid-argument', 'there are no layers to merge');
  const stop = new AbortController();
  const signal = o.signal ? AbortSignal.any([o.signal, stop.signal]) : stop.signal;
  // The layers alone tell, so neither waits for the tool, nor the tool for them.
  const verified = verifyLayers(paths);
  const inheritance = verified.then(async (layers) => {
    await refuseUnmergeable(layers, { ...o, signal });
    return findInheritance(layers, signal);
  });
  inheritance.catch((error: unknown) => stop.abort(error));
  const early = new EarlyFlush(output);
  try {
    return await makeImage(
      { ...o, signal },
      {
        what: `merging ${paths.length} layers`,
        args: mergeArguments({ output, layers: paths }),
        check: async () => {
          // Whoever publishes the image waits for the disk; it can begin with what the tool wrote while that is checked and mended.
          early.start();
          const layers = await verified;
          await verifyDevices(output, layers);
          await mend(output, layers, await inheritance);
          await early.settle();
          early.check();
          return verifyDevices(output, layers);
        },
      },
    );
  } catch (error) {
    // What is wrong with a layer is not the tool's failure, and is told even when the tool stumbled over it first.
    await inheritance;
    await blameLayer(error, paths, o);
    throw error;
  } finally {
    await Promise.allSettled([inheritance, early.settle()]);
  }
}

async function verifyLayers(paths: OldestFirst<string>): Promise<OldestFirst<Layer>> {
  const layers = await Promise.all(paths.map(async (path) => ({ path, superblock: await verifyLayer(path) })));
  return layers as unknown as OldestFirst<Layer>;
}

/** Writes what the layers say and mkfs.erofs was not told, or gets wrong. */
async function mend(output: string, layers: OldestFirst<Layer>, inheritance: Inheritance): Promise<void> {
  const uuid = mergedUuid(mapOldestFirst(layers, ({ superblock }) => superblock.uuid));
  await withImage(output, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, output);
    await writeUuid(file, uuid);
    inherit({ file, path: output, superblock }, inheritance);
    await renewChecksum(file, output, superblock);
  });
}
