import { randomBytes } from 'node:crypto';
import { open } from 'node:fs/promises';
import { crc32c } from '../crc32c.js';
import { CodedError } from '../errors.js';

/** Offsets of `struct ext4_super_block` (Linux 6.18), which begins at byte 1024. */
const superblockOffset = 1024;
const superblockSize = 1024;
const magicOffset = 0x38;
const uuidOffset = 0x68;
const checksumOffset = 0x3fc;
const magic = 0xef53;

/**
 * Gives an image, which may be a copy, a random UUID of its own. With `metadata_csum_seed` no checksum but the superblock's own
 * depends on it; the backups of the superblock keep the UUID of the image that was formatted.
 *
 * @throws CodedError `internal` when the image does not begin as ext4 does.
 */
export async function giveOwnUuid(path: string): Promise<void> {
  const file = await open(path, 'r+');
  try {
    const superblock = Buffer.alloc(superblockSize);
    const { bytesRead } = await file.read(superblock, 0, superblockSize, superblockOffset);
    if (bytesRead !== superblockSize || superblock.readUInt16LE(magicOffset) !== magic) {
      throw new CodedError('internal', `mkfs.ext4 ended well but ${path} is not ext4`, { facts: { path } });
    }
    randomUuid().copy(superblock, uuidOffset);
    superblock.writeUInt32LE(crc32c(superblock.subarray(0, checksumOffset)), checksumOffset);
    await file.write(superblock, 0, superblockSize, superblockOffset);
  } finally {
    await file.close();
  }
}

/** A version-4 UUID (RFC 9562, section 5.4). */
function randomUuid(): Buffer {
  const bytes = randomBytes(16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x40, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  return bytes;
}
