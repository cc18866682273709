import type { FileHandle } from 'node:fs/promises';
import { SnapshotterError } from '../errors.js';
import type { RootAttributes } from '../vocabulary.js';
import { damaged, readAt, readSuperblockOf, renewChecksum, withImage, type Superblock } from './superblock.js';

/** Offsets of `struct erofs_inode_compact` (32 bytes) and `struct erofs_inode_extended` (64 bytes), Linux 6.18. */
const compactSize = 32;
const extendedSize = 64;
const directoryType = 0o040000;
const typeMask = 0o170000;
const permissionMask = 0o7777;

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

/**
 * What a root looks like that nobody described. mkfs.erofs starts every tree that it does not read from a directory with the
 * mode 0777; `mendUnsaidRoot` makes it 0755. Owner root and time 0 are common to both.
 */
export function isUnsaidRoot({ mode, uid, gid, mtime, mtimeNsec }: RootAttributes): boolean {
  return (mode === 0o777 || mode === 0o755) && uid === 0 && gid === 0 && mtime === 0n && mtimeNsec === 0;
}

/** The root of an image whose layers do not describe it: what containerd makes of it too, and at a time that is always the same. */
export const unsaidRoot: RootAttributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0n, mtimeNsec: 0 };

/** Takes write access for all from a root that its layer's tar has no entry for. */
export async function mendUnsaidRoot(path: string): Promise<void> {
  await withImage(path, 'r+', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    const { attributes } = await readRoot(file, path, superblock);
    if (attributes.mode === 0o777 && isUnsaidRoot(attributes)) await writeRoot(file, path, superblock, unsaidRoot);
  });
}

/** Gives an image's root directory other attributes, and the superblock the checksum that follows from them. */
export async function mendRoot(path: string, attributes: RootAttributes): Promise<void> {
  await withImage(path, 'r+', async (file) => {
    await writeRoot(file, path, await readSuperblockOf(file, path), attributes);
  });
}

async function readRoot(file: FileHandle, path: string, superblock: Superblock): Promise<RootInode> {
  const start = await readAt(file, path, superblock.rootOffset, compactSize);
  const extended = (start.readUInt16LE(0) & 1) === 1;
  const inode = extended ? await readAt(file, path, superblock.rootOffset, extendedSize) : start;
  const mode = inode.readUInt16LE(4);
  if ((mode & typeMask) !== directoryType)
    throw damaged(path, `the mode of its root directory is 0${mode.toString(8)}`);
  return { extended, attributes: { mode: mode & permissionMask, ...ownerAndTime(inode, extended, superblock) } };
}

function ownerAndTime(inode: Buffer, extended: boolean, { epoch, fixedNsec }: Superblock) {
  if (extended) {
    return {
      uid: inode.readUInt32LE(24),
      gid: inode.readUInt32LE(28),
      mtime: inode.readBigInt64LE(32),
      mtimeNsec: inode.readUInt32LE(40),
    };
  }
  return {
    uid: inode.readUInt16LE(24),
    gid: inode.readUInt16LE(26),
    // Linux 6.15 on adds a per-inode offset, which older writers leave 0.
    mtime: epoch + BigInt(inode.readUInt32LE(12)),
    mtimeNsec: fixedNsec,
  };
}

async function writeRoot(file: FileHandle, path: string, superblock: Superblock, root: RootAttributes): Promise<void> {
  const { extended, attributes } = await readRoot(file, path, superblock);
  const inode = await readAt(file, path, superblock.rootOffset, extended ? extendedSize : compactSize);
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
