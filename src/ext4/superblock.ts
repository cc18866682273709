import type { FileHandle } from 'node:fs/promises';
import { CodedError } from '../errors.js';

/**
 * What the superblock of an ext4 image says, with numbers that have been found to fit each other and the file. Layout: Linux
 * 6.18, fs/ext4/ext4.h, `struct ext4_super_block`.
 */
export interface Ext4Superblock {
  /** Bytes. */
  readonly blockSize: number;
  readonly blocks: number;
  readonly inodes: number;
  readonly inodesPerGroup: number;
  readonly blocksPerGroup: number;
  readonly firstDataBlock: number;
  /** Bytes of an inode on the disk. */
  readonly inodeSize: number;
  /** Bytes of a group's descriptor. */
  readonly descriptorSize: number;
  readonly incompatible: number;
  readonly readOnlyCompatible: number;
}

const superblockAt = 1024;
const superblockBytes = 1024;
const magic = 0xef53;
/** A journal, and `feature_incompat` of a filesystem that is nothing but another one's journal. */
const hasJournal = 0x4;
const journalDevice = 0x8;
const wide = 0x80;

/**
 * @throws CodedError `data-loss` when it is no ext4, or its numbers contradict each other or the file's size;
 *   `failed-precondition` when it names things of the host that a mount would take: a journal on another device, mount options
 */
export async function readExt4Superblock(file: FileHandle, path: string): Promise<Ext4Superblock> {
  const bytes = Buffer.alloc(superblockBytes);
  const { bytesRead } = await file.read(bytes, 0, superblockBytes, superblockAt);
  if (bytesRead < superblockBytes || bytes.readUInt16LE(0x38) !== magic) throw damagedExt4(path, 'it is no ext4');
  mustNameNothingElse(bytes, path);
  const superblock = decode(bytes);
  mustFit(superblock, bytes.readUInt32LE(0x18), (await file.stat()).size, path);
  return superblock;
}

function decode(bytes: Buffer): Ext4Superblock {
  const incompatible = bytes.readUInt32LE(0x60);
  const isWide = (incompatible & wide) !== 0;
  const revision = bytes.readUInt32LE(0x4c);
  return {
    blockSize: 1024 * 2 ** Math.min(bytes.readUInt32LE(0x18), 10),
    blocks: bytes.readUInt32LE(0x04) + (isWide ? bytes.readUInt32LE(0x150) * 2 ** 32 : 0),
    inodes: bytes.readUInt32LE(0x00),
    inodesPerGroup: bytes.readUInt32LE(0x28),
    blocksPerGroup: bytes.readUInt32LE(0x20),
    firstDataBlock: bytes.readUInt32LE(0x14),
    inodeSize: revision === 0 ? 128 : bytes.readUInt16LE(0x58),
    descriptorSize: isWide ? bytes.readUInt16LE(0xfe) : 32,
    incompatible,
    readOnlyCompatible: bytes.readUInt32LE(0x64),
  };
}

function mustNameNothingElse(bytes: Buffer, path: string): void {
  const refused = (what: string) =>
    new CodedError('failed-precondition', `the writable layer ${path} ${what}, which this host does not follow`, {
      facts: { path },
      next: 'let the guest keep the filesystem that it was given',
    });
  const external = bytes.readUInt32LE(0xe0) === 0 && (bytes.readUInt32LE(0x5c) & hasJournal) !== 0;
  if (external || bytes.readUInt32LE(0xe4) !== 0 || (bytes.readUInt32LE(0x60) & journalDevice) !== 0) {
    throw refused('has its journal on another device');
  }
  if (bytes[0x200] !== 0) throw refused('has mount options of its own');
}

function mustFit(superblock: Ext4Superblock, logBlockSize: number, fileBytes: number, path: string): void {
  const { blockSize, blocks, inodes, inodesPerGroup, blocksPerGroup, firstDataBlock, inodeSize, descriptorSize } =
    superblock;
  const groups = Math.ceil((blocks - firstDataBlock) / blocksPerGroup);
  const isPower = (value: number) => value > 0 && (value & (value - 1)) === 0;
  const fits =
    logBlockSize <= 6 &&
    blocks > firstDataBlock &&
    blocks * blockSize <= fileBytes &&
    firstDataBlock === (blockSize === 1024 ? 1 : 0) &&
    inodesPerGroup > 0 &&
    inodesPerGroup <= blockSize * 8 &&
    blocksPerGroup > 0 &&
    blocksPerGroup <= blockSize * 8 &&
    isPower(inodeSize) &&
    inodeSize >= 128 &&
    inodeSize <= blockSize &&
    isPower(descriptorSize) &&
    descriptorSize >= 32 &&
    descriptorSize <= blockSize &&
    inodes === groups * inodesPerGroup;
  if (!fits) throw damagedExt4(path, 'the numbers in its superblock contradict each other or the size of the file');
}

/** What a reader finds that contradicts itself. */
export function damagedExt4(path: string, what: string, facts: CodedError['facts'] = {}): CodedError {
  return new CodedError('data-loss', `the ext4 of the writable layer ${path} is damaged: ${what}`, {
    facts: { ...facts, path },
    next: `look at it with "e2fsck -fn ${path}", and copy from it what can be saved`,
  });
}
