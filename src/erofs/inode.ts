import type { RootAttributes } from '../vocabulary.js';
import type { Superblock } from './superblock.js';

/** Sizes of `struct erofs_inode_compact` and `struct erofs_inode_extended` (Linux 6.18). */
export const inodeSize = (extended: boolean) => (extended ? 64 : 32);

const permissionMask = 0o7777;

/** Mode, owner and times of an inode. Pure. */
export function decodeAttributes(inode: Buffer, extended: boolean, { epoch, fixedNsec }: Superblock): RootAttributes {
  const mode = inode.readUInt16LE(4) & permissionMask;
  if (extended) {
    return {
      mode,
      uid: inode.readUInt32LE(24),
      gid: inode.readUInt32LE(28),
      mtime: inode.readBigInt64LE(32),
      mtimeNsec: inode.readUInt32LE(40),
    };
  }
  return {
    mode,
    uid: inode.readUInt16LE(24),
    gid: inode.readUInt16LE(26),
    // Linux 6.15 on adds a per-inode offset, which older writers leave 0.
    mtime: epoch + BigInt(inode.readUInt32LE(12)),
    mtimeNsec: fixedNsec,
  };
}

/** A copy of an extended inode with other attributes and the type that it has. Pure. */
export function withAttributes(inode: Buffer, { mode, uid, gid, mtime, mtimeNsec }: RootAttributes): Buffer {
  const changed = Buffer.from(inode);
  changed.writeUInt16LE((inode.readUInt16LE(4) & ~permissionMask) | mode, 4);
  changed.writeUInt32LE(uid, 24);
  changed.writeUInt32LE(gid, 28);
  changed.writeBigInt64LE(mtime, 32);
  changed.writeUInt32LE(mtimeNsec, 40);
  return changed;
}
