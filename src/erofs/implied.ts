import type { RootAttributes } from '../vocabulary.js';
import { readSuperblockOf, renewChecksum, withImage, writeVolumeName, type Superblock } from './superblock.js';

/** What a layer's tar has no entry for although its image must have it; see docs/decisions/0010-implied-directories.md. */
export interface Implied {
  readonly root: boolean;
  /** Some folder, which the tar was then made to describe as `impliedFolder`. */
  readonly folders: boolean;
}

/** A directory that no layer describes: what containerd makes of it too, and at a time that is always the same. */
export const undescribed: RootAttributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0n, mtimeNsec: 0 };

/**
 * The mark of an implied folder in a layer's image: a time that no real file has. Its seconds are not 0, since mkfs.erofs 1.9
 * forgets the nanoseconds of such times.
 */
export const impliedFolder: RootAttributes = { ...undescribed, mtime: 1n, mtimeNsec: 271_828_182 };

/** Only a layer whose volume name says that it has implied folders has marks to look for. */
export function isImpliedFolder({ mode, uid, gid, mtime, mtimeNsec }: RootAttributes): boolean {
  const { mode: markMode, mtime: markTime, mtimeNsec: markNsec } = impliedFolder;
  return mode === markMode && uid === 0 && gid === 0 && mtime === markTime && mtimeNsec === markNsec;
}

const volumeNames = { root: 'implied:/', folders: 'implied:folders', both: 'implied:/+' } as const;

/** What the conversion wrote down about a layer. An image that others made implies nothing. */
export function impliedBy({ volumeName }: Superblock): Implied {
  const both = volumeName === volumeNames.both;
  return { root: both || volumeName === volumeNames.root, folders: both || volumeName === volumeNames.folders };
}

const directoryMode = 0o040000 | undescribed.mode;

/** Writes down what the layer's tar implies, and takes write access for all from a root that mkfs.erofs gave the mode 0777. */
export async function recordImplied(path: string, { root, folders }: Implied): Promise<void> {
  if (!root && !folders) return;
  await withImage(path, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    await writeVolumeName(file, volumeNames[root ? (folders ? 'both' : 'root') : 'folders']);
    if (root) {
      const mode = Buffer.alloc(2);
      mode.writeUInt16LE(directoryMode);
      await file.write(mode, 0, mode.length, superblock.rootOffset + 4);
    }
    await renewChecksum(file, path, superblock);
  });
}
