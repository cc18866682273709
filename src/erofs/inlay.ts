import { createHash } from 'node:crypto';
import { crc32c } from '../crc32c.js';
import { CodedError } from '../errors.js';
import type { RootAttributes } from '../vocabulary.js';
import { blockSize } from './superblock.js';
import { inlayUuid } from './uuid.js';

/**
 * A folder of an inlay: a small image without data that is merged above a layer, so that the merged image shows what the kernel's
 * overlay of the layers would show.
 */
export interface InlayFolder {
  readonly attributes: RootAttributes;
  /** As they stand in an image, see `rawXattrs`. */
  readonly xattrs: readonly Buffer[];
  /** By name, a byte string (latin1). */
  readonly entries: Map<string, InlayFolder | 'whiteout'>;
}

/** Offsets and sizes of `struct erofs_super_block`, `erofs_inode_extended` and `erofs_dirent` (Linux 6.18). */
const superblockOffset = 1024;
const superblockSize = 128;
const inodeBytes = 64;
const xattrHeaderBytes = 12;
const direntBytes = 12;
const bytesPerNid = 32;

/** Each takes a block, in memory too while the image is made. */
const mostFolders = 16_384;

const folderMode = 0o040000;
const deviceMode = 0o020000;
const fileTypes = { folder: 2, device: 3 } as const;

/** A folder with its place in the image. */
interface Placed {
  readonly folder: InlayFolder;
  readonly parent: Placed | undefined;
  /** Bytes from the start of the image. */
  readonly offset: number;
  readonly subfolders: Map<string, Placed>;
}

interface Entry {
  readonly name: string;
  readonly nid: number;
  readonly type: number;
}

/**
 * The bytes of an inlay: superblock, inodes with their xattrs, then the folders' blocks. All whiteouts are one device with many names.
 * The same tree gives the same bytes, and other trees other UUIDs. Pure.
 *
 * @throws CodedError `failed-precondition` when there are more folders than any image needs
 */
export function renderInlay(root: InlayFolder): Buffer {
  const { folders, whiteoutOffset, end } = place(root);
  if (folders.length > mostFolders) {
    throw new CodedError('failed-precondition', `more than ${mostFolders} folders hide what these layers replace`);
  }
  const whiteouts = folders
    .flatMap(({ folder }) => [...folder.entries.values()])
    .filter((entry) => entry === 'whiteout');
  const parts: Buffer[] = [Buffer.alloc(roundUp(end, blockSize))];
  const metadata = parts[0] as Buffer;
  let blocks = metadata.length / blockSize;
  for (const placed of folders) {
    const { bytes, size } = directoryOf(placed, whiteoutOffset);
    const { attributes, xattrs } = placed.folder;
    inodeOf({ attributes, mode: folderMode, links: 2 + placed.subfolders.size, size, block: blocks, xattrs }).copy(
      metadata,
      placed.offset,
    );
    blocks += bytes.length / blockSize;
    parts.push(bytes);
  }
  const device = { mode: 0, uid: 0, gid: 0, mtime: 0n, mtimeNsec: 0 };
  inodeOf({ attributes: device, mode: deviceMode, links: whiteouts.length, size: 0, block: 0, xattrs: [] }).copy(
    metadata,
    whiteoutOffset,
  );
  writeSuperblock(metadata, { root: folders[0]?.offset ?? 0, inodes: folders.length + 1, blocks });
  const image = Buffer.concat(parts);
  const uuid = inlayUuid(createHash('sha256').update(image).digest('hex'));
  Buffer.from(uuid.replaceAll('-', ''), 'hex').copy(image, superblockOffset + 48);
  image.writeUInt32LE(crc32c(image.subarray(superblockOffset, blockSize)), superblockOffset + 4);
  return image;
}

/** Gives every folder its inode's place, the root first, and then the one of all whiteouts. */
function place(root: InlayFolder): { folders: readonly Placed[]; whiteoutOffset: number; end: number } {
  let at = superblockOffset + superblockSize;
  const folders: Placed[] = [];
  const put = (folder: InlayFolder, parent: Placed | undefined): Placed => {
    const placed = { folder, parent, offset: at, subfolders: new Map<string, Placed>() };
    at = roundUp(at + inodeBytes + xattrBytesOf(folder.xattrs), bytesPerNid);
    folders.push(placed);
    return placed;
  };
  put(root, undefined);
  for (let index = 0; index < folders.length; index += 1) {
    const placed = folders[index] as Placed;
    for (const [name, entry] of placed.folder.entries) {
      if (entry !== 'whiteout') placed.subfolders.set(name, put(entry, placed));
    }
  }
  return { folders, whiteoutOffset: at, end: at + inodeBytes };
}

/** Bytes that an inode's xattrs take with their header. */
export function xattrBytesOf(xattrs: readonly Buffer[]): number {
  return xattrs.length === 0 ? 0 : xattrs.reduce((sum, { length }) => sum + length, xattrHeaderBytes);
}

/** An inode's xattrs with their header: a name filter that rules nothing out, and no shared ones. */
export function xattrBody(xattrs: readonly Buffer[]): Buffer {
  return xattrs.length === 0 ? Buffer.alloc(0) : Buffer.concat([Buffer.alloc(xattrHeaderBytes), ...xattrs]);
}

interface Inode {
  readonly attributes: RootAttributes;
  /** Its type alone. */
  readonly mode: number;
  readonly links: number;
  readonly size: number;
  readonly block: number;
  readonly xattrs: readonly Buffer[];
}

function inodeOf({ attributes, mode, links, size, block, xattrs }: Inode): Buffer {
  const inode = Buffer.alloc(inodeBytes);
  // Extended, and what it holds lies in whole blocks.
  inode.writeUInt16LE(1, 0);
  inode.writeUInt16LE(xattrs.length === 0 ? 0 : (xattrBytesOf(xattrs) - xattrHeaderBytes) / 4 + 1, 2);
  inode.writeUInt16LE(mode | attributes.mode, 4);
  inode.writeBigUInt64LE(BigInt(size), 8);
  inode.writeUInt32LE(block, 16);
  inode.writeUInt32LE(attributes.uid, 24);
  inode.writeUInt32LE(attributes.gid, 28);
  inode.writeBigInt64LE(attributes.mtime, 32);
  inode.writeUInt32LE(attributes.mtimeNsec, 40);
  inode.writeUInt32LE(links, 44);
  return Buffer.concat([inode, xattrBody(xattrs)]);
}

/** The blocks of a folder: names in the order of their bytes, as many in a block as have room. */
function directoryOf(placed: Placed, whiteoutOffset: number): { bytes: Buffer; size: number } {
  const entry = (name: string, offset: number, type: number): Entry => ({ name, nid: offset / bytesPerNid, type });
  const entries = [
    entry('.', placed.offset, fileTypes.folder),
    entry('..', (placed.parent ?? placed).offset, fileTypes.folder),
    ...[...placed.folder.entries].map(([name, found]) =>
      found === 'whiteout'
        ? entry(name, whiteoutOffset, fileTypes.device)
        : entry(name, placed.subfolders.get(name)?.offset ?? 0, fileTypes.folder),
    ),
  ].sort((one, other) => (one.name < other.name ? -1 : 1));
  const blocks: Buffer[] = [];
  let [inBlock, used, size]: [Entry[], number, number] = [[], 0, 0];
  const finish = () => {
    blocks.push(directoryBlock(inBlock));
    size = (blocks.length - 1) * blockSize + used;
    [inBlock, used] = [[], 0];
  };
  for (const next of entries) {
    const bytes = direntBytes + next.name.length;
    if (used + bytes > blockSize) finish();
    inBlock.push(next);
    used += bytes;
  }
  finish();
  return { bytes: Buffer.concat(blocks), size };
}

function directoryBlock(entries: readonly Entry[]): Buffer {
  const block = Buffer.alloc(blockSize);
  let nameAt = entries.length * direntBytes;
  for (const [index, { name, nid, type }] of entries.entries()) {
    block.writeBigUInt64LE(BigInt(nid), index * direntBytes);
    block.writeUInt16LE(nameAt, index * direntBytes + 8);
    block.writeUInt8(type, index * direntBytes + 10);
    nameAt += block.write(name, nameAt, 'latin1');
  }
  return block;
}

function writeSuperblock(image: Buffer, o: { root: number; inodes: number; blocks: number }): void {
  const superblock = image.subarray(superblockOffset);
  superblock.writeUInt32LE(0xe0f5e1e2, 0);
  // With a checksum, which the caller writes.
  superblock.writeUInt32LE(1, 8);
  superblock.writeUInt8(Math.log2(blockSize), 12);
  superblock.writeUInt16LE(o.root / bytesPerNid, 14);
  superblock.writeBigUInt64LE(BigInt(o.inodes), 16);
  superblock.writeUInt32LE(o.blocks, 36);
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
