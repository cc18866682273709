import type { FileHandle } from 'node:fs/promises';
import { SnapshotterError } from '../errors.js';
import type { RootAttributes } from '../vocabulary.js';
import { decodeAttributes, inodeSize } from './inode.js';
import { damaged, readAt, readSuperblockOf, renewChecksum, withImage, type Superblock } from './superblock.js';

const directoryType = 0o040000;
const typeMask = 0o170000;

interface RootInode {
  readonly extended: boolean;
  readonly attributes: RootAttributes;
}

/**
 * Mode, owner and times of an image's root directory.
 *
 * @throws SnapshotterError as `readSuperblock` does, and `data-loss` when the root is not a directory.
 */
export async function readRootAttributes(path: string): Promise<RootAttributes> {
  return withImage(path, 'r', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    return (await readRoot(file, path, superblock)).attributes;
  });
}

/** The root of an image whose layers do not describe it: what containerd makes of it too, and at a time that is always the same. */
export const unsaidRoot: RootAttributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0n, mtimeNsec: 0 };

/** Gives an image's root directory other attributes, and the superblock the checksum that follows from them. */
export async function mendRoot(path: string, attributes: RootAttributes): Promise<void> {
  await withImage(path, 'r+', async (file) => {
    await writeRoot(file, path, await readSuperblockOf(file, path), attributes);
  });
}

async function readRoot(file: FileHandle, path: string, superblock: Superblock): Promise<RootInode> {
  const start = await readAt(file, path, superblock.rootOffset, inodeSize(false));
  const extended = (start.readUInt16LE(0) & 1) === 1;
  const inode = extended ? await readAt(file, path, superblock.rootOffset, inodeSize(true)) : start;
  const mode = inode.readUInt16LE(4);
  if ((mode & typeMask) !== directoryType) {
    throw damaged(path, `the mode of its root directory is 0${mode.toString(8)}`);
  }
  return { extended, attributes: decodeAttributes(inode, extended, superblock) };
}

async function writeRoot(file: FileHandle, path: string, superblock: Superblock, root: RootAttributes): Promise<void> {
  const { extended, attributes } = await readRoot(file, path, superblock);
  const inode = await readAt(file, path, superblock.rootOffset, inodeSize(extended));
  inode.writeUInt16LE(directoryType | root.mode, 4);
  if (extended) {
    inode.writeUInt32LE(root.uid, 24);
    inode.writeUInt32LE(root.gid, 28);
    inode.writeBigInt64LE(root.mtime, 32);
    inode.writeUInt32LE(root.mtimeNsec, 40);
  } else if (!sameExceptMode(root, attributes)) {
    // Images are merged with extended inodes, so this is a tool that did not do as it was told.
    throw new SnapshotterError('internal', `the root inode of ${path} is too small for its owner and time`, {
      facts: { path },
    });
  }
  await file.write(inode, 0, inode.length, superblock.rootOffset);
  await renewChecksum(file, path, superblock);
}

function sameExceptMode(a: RootAttributes, b: RootAttributes): boolean {
  return a.uid === b.uid && a.gid === b.gid && a.mtime === b.mtime && a.mtimeNsec === b.mtimeNsec;
}
