import { blockSize, damaged, readSuperblockOf, sizeOf, withImage, type Superblock } from './superblock.js';

/** mkfs.erofs ends its images with their last block. More than this beyond it is not padding. */
const paddingLimit = 1024 * 1024;

/**
 * Checks a layer's image: superblock, checksum, block size, size on disk, and its UUID when one is expected.
 *
 * @throws CodedError `data-loss` when it is not a whole layer, or not the expected one.
 */
export async function verifyLayer(path: string, expectedUuid?: string): Promise<Superblock> {
  const { superblock, size } = await withImage(path, 'r', async (file) => ({
    superblock: await readSuperblockOf(file, path),
    size: sizeOf(file),
  }));
  if (superblock.blockSize !== blockSize) {
    throw damaged(path, `its blocks are ${superblock.blockSize} bytes long instead of ${blockSize}`);
  }
  if (superblock.extraDevices !== 0) {
    throw damaged(path, `it refers to ${superblock.extraDevices} other images, which a layer does not`);
  }
  if (expectedUuid !== undefined && superblock.uuid !== expectedUuid.toLowerCase()) {
    throw damaged(path, `its UUID is ${superblock.uuid} instead of ${expectedUuid}`);
  }
  if (size - superblock.bytes > paddingLimit) {
    throw damaged(path, `it is ${size} bytes long, of which its superblock counts only ${superblock.bytes}`);
  }
  return superblock;
}
