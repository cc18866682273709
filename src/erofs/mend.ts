import type { RootAttributes } from '../vocabulary.js';
import { directories } from './directories.js';
import { readSuperblockOf, renewChecksum, withImage } from './superblock.js';

/**
 * What a directory looks like that nobody described. mkfs.erofs gives the mode 0777 to the root and to every parent that a tar
 * implies but has no entry for; `mendUnsaidDirectories` makes it 0755. Owner root and time 0 are common to both.
 */
export function isUnsaid({ mode, uid, gid, mtime, mtimeNsec }: RootAttributes): boolean {
  return (mode === 0o777 || mode === 0o755) && uid === 0 && gid === 0 && mtime === 0n && mtimeNsec === 0;
}

const directoryType = 0o040000;
const unsaidMode = 0o755;

/** Takes write access for all from the directories of a layer that its tar has no entry for. */
export async function mendUnsaidDirectories(path: string): Promise<void> {
  await withImage(path, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    const mode = Buffer.alloc(2);
    mode.writeUInt16LE(directoryType | unsaidMode);
    for (const { offset, attributes } of directories(file, path, superblock)) {
      if (attributes.mode !== unsaidMode && isUnsaid(attributes)) await file.write(mode, 0, mode.length, offset + 4);
    }
    await renewChecksum(file, path, superblock);
  });
}

const userPrefix = 1;
const trustedPrefix = 4;
const opaqueName = 'overlay.opaque';

/**
 * Makes `user.overlay.opaque`, which an overlay mounted with `userxattr` writes, `trusted.overlay.opaque` of a layer's
 * directories: neither merging nor an ordinary overlay would take them for opaque.
 */
export async function trustOpaqueMarks(path: string): Promise<void> {
  await withImage(path, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    for (const { xattrs } of directories(file, path, superblock)) {
      const mark = xattrs?.entries.find(({ prefix, name }) => prefix === userPrefix && name === opaqueName);
      if (xattrs === undefined || mark === undefined) continue;
      await file.write(Buffer.from([trustedPrefix]), 0, 1, mark.offset + 1);
      // The filter says which names an inode surely lacks; all zeros: none.
      await file.write(Buffer.alloc(4), 0, 4, xattrs.offset);
    }
    await renewChecksum(file, path, superblock);
  });
}
