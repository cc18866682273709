import { readSuperblockOf, renewChecksum, withImage } from './superblock.js';
import { ImageTree, type Directory } from './tree.js';

const userPrefix = 1;
const trustedPrefix = 4;
const opaqueName = 'overlay.opaque';

/** Whether the directory hides what older layers have in it. */
export function isOpaque(tree: ImageTree, directory: Directory): boolean {
  if (directory.xattrs.length === 0) return false;
  return tree.xattrs(directory).some(({ prefix, name }) => prefix === trustedPrefix && name === opaqueName);
}

/**
 * Makes `user.overlay.opaque`, which an overlay mounted with `userxattr` writes, `trusted.overlay.opaque` of a layer's
 * directories: neither merging nor an ordinary overlay would take them for opaque.
 */
export async function trustOpaqueMarks(path: string): Promise<void> {
  await withImage(path, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    const tree = new ImageTree(file, path, superblock);
    for (const directory of tree.directories()) {
      const mark = tree.xattrs(directory).find(({ prefix, name }) => prefix === userPrefix && name === opaqueName);
      if (mark === undefined) continue;
      await file.write(Buffer.from([trustedPrefix]), 0, 1, mark.offset + 1);
      // The filter says which names an inode surely lacks; all zeros: none.
      await file.write(Buffer.alloc(4), 0, 4, directory.xattrs.start);
    }
    await renewChecksum(file, path, superblock);
  });
}
