import type { OldestFirst, RootAttributes } from '../vocabulary.js';
import { impliedBy, undescribed } from './implied.js';
import { readSuperblockOf, withImage } from './superblock.js';
import { ImageTree } from './tree.js';

/**
 * Mode, owner and times of an image's root directory.
 *
 * @throws SnapshotterError as `readSuperblock` does, and `data-loss` when the root is not a directory.
 */
export async function readRootAttributes(path: string): Promise<RootAttributes> {
  return (await readRoot(path)).attributes;
}

/**
 * The root directory of a chain: that of its newest layer that describes one, since a layer whose tar has no entry for it
 * changes nothing; else 0755 root:root at time 0.
 *
 * @throws SnapshotterError as `readRootAttributes` does.
 */
export async function chainRootAttributes(layers: OldestFirst<string>): Promise<RootAttributes> {
  for (let index = layers.length - 1; index >= 0; index -= 1) {
    const { attributes, implied } = await readRoot(layers[index] ?? '');
    if (!implied) return attributes;
  }
  return undescribed;
}

async function readRoot(path: string): Promise<{ attributes: RootAttributes; implied: boolean }> {
  return withImage(path, 'r', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    const tree = new ImageTree(file, path, superblock);
    return { attributes: tree.attributes(tree.root()), implied: impliedBy(superblock).root };
  });
}
