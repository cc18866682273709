import type { FileHandle } from 'node:fs/promises';
import { listedOldestFirst, mapOldestFirst, type OldestFirst } from '../vocabulary.js';
import {
  damaged,
  deviceSlotSize,
  readAt,
  readSuperblock,
  readSuperblockOf,
  withImage,
  type Superblock,
} from './superblock.js';

/** One slot of a merged image's device table: a layer, and where it lies on the flattened disk. */
export interface Device {
  /** The layer's UUID as 32 hex digits; the table calls it a tag. */
  readonly uuidTag: string;
  readonly blocks: number;
  readonly bytes: number;
  /** The block of the flattened disk at which the layer begins. */
  readonly mappedBlock: number;
}

/** A layer's image and the fields read from it. */
export interface Layer {
  readonly path: string;
  readonly superblock: Superblock;
}

/** A merged image that fits its layers. */
export interface MergedImage {
  readonly superblock: Superblock;
  readonly layers: OldestFirst<Device>;
}

/** @throws CodedError `data-loss` when the device table is cut off. */
async function readDevicesOf(file: FileHandle, path: string, superblock: Superblock): Promise<OldestFirst<Device>> {
  const { deviceTableOffset, extraDevices } = superblock;
  const table = await readAt(file, path, deviceTableOffset, extraDevices * deviceSlotSize);
  const slots = Array.from({ length: extraDevices }, (_, index) =>
    decodeDevice(table.subarray(index * deviceSlotSize, (index + 1) * deviceSlotSize), superblock.blockSize),
  );
  // mkfs.erofs is given the layers oldest first and numbers them in that order.
  return listedOldestFirst(slots);
}

/** Offsets of `struct erofs_deviceslot` (Linux 6.18). */
function decodeDevice(slot: Buffer, bytesPerBlock: number): Device {
  const tag = slot.subarray(0, 64);
  const end = tag.indexOf(0);
  const blocks = slot.readUInt32LE(64);
  return {
    uuidTag: tag.toString('latin1', 0, end === -1 ? tag.length : end),
    blocks,
    bytes: blocks * bytesPerBlock,
    mappedBlock: slot.readUInt32LE(68),
  };
}

/**
 * Checks that the merged image at `path` was made of exactly these layers, as they are now: number, UUIDs, sizes and addresses.
 *
 * @throws CodedError `data-loss` when it was not, or when the image or a layer is damaged.
 */
export async function verifyMerged(path: string, layers: OldestFirst<string>): Promise<MergedImage> {
  const read = await Promise.all(
    layers.map(async (layer) => ({ path: layer, superblock: await readSuperblock(layer) })),
  );
  return verifyDevices(path, listedOldestFirst(read));
}

/** As `verifyMerged`, with what the layers' superblocks were found to be. */
export async function verifyDevices(path: string, layers: OldestFirst<Layer>): Promise<MergedImage> {
  const image = await withImage(path, 'r', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    return { superblock, layers: await readDevicesOf(file, path, superblock) };
  });
  const expected = expectedDevices(image.superblock, layers);
  requireSameDevices(path, image.layers, expected, layers);
  return image;
}

/** The device table that a merged image of these layers must have: each layer begins where the one before ends. */
function expectedDevices(merged: Superblock, layers: OldestFirst<Layer>): OldestFirst<Device> {
  let mappedBlock = merged.blocks;
  return mapOldestFirst(layers, ({ superblock: { uuid, blocks, bytes } }) => {
    const device = { uuidTag: uuid.replaceAll('-', ''), blocks, bytes, mappedBlock };
    mappedBlock += blocks;
    return device;
  });
}

function requireSameDevices(
  path: string,
  actual: OldestFirst<Device>,
  expected: OldestFirst<Device>,
  layers: OldestFirst<Layer>,
): void {
  if (actual.length !== expected.length) {
    throw damaged(path, `it refers to ${actual.length} layers instead of ${expected.length}`);
  }
  for (const [index, wanted] of expected.entries()) {
    const found = actual[index];
    for (const field of ['uuidTag', 'blocks', 'mappedBlock'] as const) {
      if (found?.[field] === wanted[field]) continue;
      const layer = layers[index]?.path ?? '';
      throw damaged(
        path,
        `the ${field} of its device ${index + 1} is ${found?.[field]}, but ${wanted[field]} fits ${layer}`,
      );
    }
  }
}
