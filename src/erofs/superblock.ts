import { fstatSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { errnoOf, CodedError } from '../errors.js';
import { asCodedError } from '../host/index.js';
import { crc32c } from '../crc32c.js';
import { formatUuid } from './uuid.js';

/** Where the superblock begins, in bytes; it is 128 bytes long. Offsets are those of `struct erofs_super_block` (Linux 6.18). */
const superblockOffset = 1024;
const superblockSize = 128;
const magic = 0xe0f5e1e2;

/** The one block size that this product writes, merges and flattens. */
export const blockSize = 4096;
/** Device slots are 128 bytes, and the table's offset is counted in them. */
export const deviceSlotSize = 128;

const uuidOffset = 48;
const volumeNameOffset = 64;
const volumeNameSize = 16;

const compatChecksum = 0x1;
const incompatChunks = 0x4;
/** Layouts of erofs-utils 1.9 that are only written on request: 48-bit block addresses and compressed metadata. */
const incompatUnread = 0x80 | 0x100;

/** What an EROFS superblock says of its image. Blocks are those of the primary device: not of a merged image's layers. */
export interface Superblock {
  readonly uuid: string;
  /** Bytes. */
  readonly blockSize: number;
  readonly blocks: number;
  /** `blocks * blockSize`: what an extent of a flattened disk must cover, whatever the size of the file. */
  readonly bytes: number;
  /** Layers that the image refers to; 0 in a layer. */
  readonly extraDevices: number;
  /** Bytes from the start of the image. */
  readonly deviceTableOffset: number;
  /** Where inodes are counted from, in bytes from the start of the image. */
  readonly metadataOffset: number;
  /** Where the root inode begins, in bytes from the start of the image. */
  readonly rootOffset: number;
  /** Where shared xattrs are counted from, in bytes from the start of the image. */
  readonly sharedXattrsOffset: number;
  /** Seconds and nanoseconds that compact inodes have as their mtime. */
  readonly epoch: bigint;
  readonly fixedNsec: number;
  readonly hasChecksum: boolean;
  /** Whether files may lie in chunks. */
  readonly hasChunks: boolean;
  /** 15 bytes at most, without the zeros after it; see `implied.ts`. */
  readonly volumeName: string;
}

/**
 * Reads and checks the superblock of an image.
 *
 * @throws CodedError `data-loss` when the file is not EROFS, its checksum is wrong or it is shorter than its blocks;
 *   `failed-precondition` when it uses a layout that this version cannot read; `not-found` when there is no file.
 */
export async function readSuperblock(path: string): Promise<Superblock> {
  return withImage(path, 'r', (file) => readSuperblockOf(file, path));
}

/** Opens an image for `work` and closes it again; errors of the file system say which image they are about. */
export async function withImage<T>(
  path: string,
  flags: 'r' | 'r+',
  work: (file: FileHandle) => Promise<T>,
): Promise<T> {
  let file: FileHandle;
  try {
    file = await open(path, flags);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw asCodedError(error, `opening the EROFS image ${path}`, path);
    throw new CodedError('not-found', `there is no EROFS image ${path}`, { facts: { path }, cause: error });
  }
  try {
    return await work(file);
  } catch (error) {
    throw asCodedError(error, `reading the EROFS image ${path}`, path);
  } finally {
    await file.close();
  }
}

export async function readSuperblockOf(file: FileHandle, path: string): Promise<Superblock> {
  const size = sizeOf(file);
  // All that the checksum covers, as a rule: with many layers every turn through the thread pool is felt.
  const likely = Math.min(size, blockSize) - superblockOffset;
  const head = await readAt(file, path, superblockOffset, Math.max(superblockSize, likely));
  const superblock = decodeSuperblock(head, path);
  if (superblock.hasChecksum) {
    const length = checksumLength(superblock);
    const covered = length === head.length ? head : await readAt(file, path, superblockOffset, length);
    const expected = covered.readUInt32LE(4);
    const actual = checksumOf(covered);
    if (actual !== expected) {
      throw damaged(path, `its superblock's checksum is ${hex(actual)} and should be ${hex(expected)}`);
    }
  }
  if (superblock.bytes > size) {
    throw damaged(
      path,
      `it has ${superblock.blocks} blocks of ${superblock.blockSize} bytes, but the file ends after ${size} bytes`,
    );
  }
  return superblock;
}

/** Bytes. Synchronous: what is known of an open file is in memory. */
export function sizeOf(file: FileHandle): number {
  return fstatSync(file.fd).size;
}

/** Decodes what begins at byte 1024: 128 bytes, whatever follows them. Pure. */
function decodeSuperblock(raw: Buffer, path: string): Superblock {
  if (raw.readUInt32LE(0) !== magic) throw damaged(path, `its magic number is ${hex(raw.readUInt32LE(0))}`);
  const blockBits = raw.readUInt8(12);
  if (blockBits < 9 || blockBits > 16) throw damaged(path, `its block size is 2^${blockBits} bytes`);
  const incompat = raw.readUInt32LE(80);
  if ((incompat & incompatUnread) !== 0) {
    throw new CodedError('failed-precondition', `the EROFS image ${path} uses an unknown layout (${hex(incompat)})`, {
      facts: { path },
      next: 'build the image without 48-bit addresses and without compressed metadata',
    });
  }
  const size = 2 ** blockBits;
  const blocks = raw.readUInt32LE(36);
  return {
    uuid: formatUuid(raw.subarray(uuidOffset, volumeNameOffset)),
    blockSize: size,
    blocks,
    bytes: blocks * size,
    extraDevices: raw.readUInt16LE(86),
    deviceTableOffset: raw.readUInt16LE(88) * deviceSlotSize,
    metadataOffset: raw.readUInt32LE(40) * size,
    // Inodes are numbered in units of 32 bytes.
    rootOffset: raw.readUInt32LE(40) * size + raw.readUInt16LE(14) * 32,
    sharedXattrsOffset: raw.readUInt32LE(44) * size,
    epoch: raw.readBigInt64LE(24),
    fixedNsec: raw.readUInt32LE(32),
    hasChunks: (incompat & incompatChunks) !== 0,
    hasChecksum: (raw.readUInt32LE(8) & compatChecksum) !== 0,
    volumeName: raw.toString('latin1', volumeNameOffset, volumeNameOffset + volumeNameSize).replace(/\0.*$/s, ''),
  };
}

/** @param uuid as `formatUuid` spells it. The checksum has to be renewed afterwards. */
export async function writeUuid(file: FileHandle, uuid: string): Promise<void> {
  const bytes = Buffer.from(uuid.replaceAll('-', ''), 'hex');
  await file.write(bytes, 0, bytes.length, superblockOffset + uuidOffset);
}

/** @param name ASCII, 15 bytes at most. The checksum has to be renewed afterwards. */
export async function writeVolumeName(file: FileHandle, name: string): Promise<void> {
  const field = Buffer.alloc(volumeNameSize);
  field.write(name, 'latin1');
  await file.write(field, 0, field.length, superblockOffset + volumeNameOffset);
}

/** Writes the checksum anew after something in the first block was changed. */
export async function renewChecksum(file: FileHandle, path: string, superblock: Superblock): Promise<void> {
  if (!superblock.hasChecksum) return;
  const covered = await readAt(file, path, superblockOffset, checksumLength(superblock));
  const checksum = Buffer.alloc(4);
  checksum.writeUInt32LE(checksumOf(covered));
  await file.write(checksum, 0, checksum.length, superblockOffset + 4);
}

/** The checksum covers the superblock and all that follows it in its block, with the checksum itself taken as zero. */
function checksumOf(covered: Buffer): number {
  const copy = Buffer.from(covered);
  copy.writeUInt32LE(0, 4);
  return crc32c(copy);
}

function checksumLength(superblock: Superblock): number {
  const { blockSize: size } = superblock;
  return size > superblockOffset ? size - superblockOffset : size;
}

/** @throws CodedError `data-loss` when the file ends before `length` bytes were read. */
export async function readAt(file: FileHandle, path: string, offset: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  for (let done = 0; done < length;) {
    const { bytesRead } = await file.read(buffer, done, length - done, offset + done);
    if (bytesRead === 0) throw damaged(path, `it ends after ${offset + done} bytes, within what should be read`);
    done += bytesRead;
  }
  return buffer;
}

export function damaged(path: string, how: string): CodedError {
  return new CodedError('data-loss', `${path} is not a whole EROFS image: ${how}`, {
    facts: { path },
    next: 'remove the snapshot and pull its image again',
  });
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
