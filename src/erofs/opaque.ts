import { readSuperblockOf, renewChecksum, withImage } from './superblock.js';
import { ImageTree, type Directory } from './tree.js';

const userPrefix = 1;
const trustedPrefix = 4;
const opaqueName = 'overlay.opaque';
/** Of all that overlay notes, and of what it stores of an overlay inside it. */
const notePrefix = 'overlay.';
const nestedPrefix = 'overlay.overlay.';

/** Whether the directory hides what older layers have in it. */
export function isOpaque(tree: ImageTree, directory: Directory): boolean {
  if (directory.xattrs.length === 0) return false;
  return tree.xattrs(directory).some(({ prefix, name }) => prefix === trustedPrefix && name === opaqueName);
}

/**
 * Makes the notes of an overlay that was mounted with `userxattr` those of an ordinary one, in a layer's directories: neither
 * merging nor an ordinary overlay would take `user.overlay.opaque` for a mark. That of the root means nothing: it is a user's.
 */
export async function trustNotes(path: string): Promise<void> {
  await withImage(path, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    const tree = new ImageTree(file, path, superblock);
    for (const directory of tree.directories()) {
      const notes = tree.xattrs(directory).filter(({ prefix, name }) => {
        if (prefix !== userPrefix || !name.startsWith(notePrefix) || name.startsWith(nestedPrefix)) return false;
        return name !== opaqueName || directory.offset !== superblock.rootOffset;
      });
      for (const { offset } of notes) await file.write(Buffer.from([trustedPrefix]), 0, 1, offset + 1);
      // The filter says which names an inode surely lacks; all zeros: none.
      if (notes.length > 0) await file.write(Buffer.alloc(4), 0, 4, directory.xattrs.start);
    }
    await renewChecksum(file, path, superblock);
  });
}
