import type { OldestFirst, RootAttributes } from '../vocabulary.js';
import { impliedBy, undescribed } from './implied.js';
import { readSuperblockOf, withImage } from './superblock.js';
import { ImageTree } from './tree.js';

/** What a root directory is like. */
export interface RootDirectory {
  readonly attributes: RootAttributes;
  /** Those that an overlay shows, as they stand in an image. */
  readonly xattrs: readonly Buffer[];
}

/**
 * Mode, owner and times of the root that `chainRoot` finds.
 *
 * @throws CodedError as `readSuperblock` does, and `data-loss` when the root is not a directory.
 */
export async function chainRootAttributes(layers: OldestFirst<string>): Promise<RootAttributes> {
  for (let index = layers.length - 1; index >= 0; index -= 1) {
    const { found, implied } = await readTree(layers[index] ?? '', (tree) => tree.attributes(tree.root()));
    if (!implied) return found;
  }
  return undescribed;
}

/** @throws CodedError as `chainRootAttributes` does; `failed-precondition` when another image could not spell its xattrs */
export async function readRoot(path: string): Promise<RootDirectory & { readonly implied: boolean }> {
  const { found, implied } = await readTree(path, (tree) => {
    const root = tree.root();
    return { attributes: tree.attributes(root), xattrs: tree.shownXattrs(root) };
  });
  return { ...found, implied };
}

async function readTree<T>(path: string, read: (tree: ImageTree) => T): Promise<{ found: T; implied: boolean }> {
  return withImage(path, 'r', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    return { found: read(new ImageTree(file, path, superblock)), implied: impliedBy(superblock).root };
  });
}
