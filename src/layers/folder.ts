import { lstat, readdir, readlink, rename, rm, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';

import { errnoOf } from '../errors.js';
import { verifyLayer, type Superblock } from '../erofs/index.js';
import { publish, syncFolder, temporaryBeside } from '../host/index.js';
import type { Digest } from '../vocabulary.js';
import { digestOfFileName, layerFileName, layerLinkName } from './names.js';

/** What a record keeps of a snapshot's layer. */
export interface LayerRecord {
  /** The file's name in the snapshot's folder. */
  readonly file: string;
  readonly digest?: Digest;
  readonly uuid: string;
  /** Size of the image in blocks of 4096 bytes. */
  readonly blocks: number;
}

/**
 * Makes an image that Apply converted the layer of `folder`. Ready once `layer.erofs` is there: the link is renamed last.
 */
export async function publishExtractedLayer(folder: string, temporaryPath: string, digest: Digest): Promise<void> {
  const fileName = layerFileName(digest);
  await publish(temporaryPath, join(folder, fileName));
  const link = join(folder, layerLinkName);
  const temporaryLink = temporaryBeside(link);
  await symlink(fileName, temporaryLink);
  try {
    await rename(temporaryLink, link);
  } catch (error) {
    await rm(temporaryLink, { force: true });
    throw error;
  }
  await syncFolder(folder);
  for (const other of await layerFiles(folder)) {
    if (other !== fileName && other !== layerLinkName) await rm(join(folder, other), { force: true });
  }
}

/** Makes an image that Commit converted the layer of `folder`: a plain `layer.erofs`, since no descriptor names it. */
export async function publishConvertedLayer(
  folder: string,
  temporaryPath: string,
  superblock: Superblock,
): Promise<LayerRecord> {
  await publish(temporaryPath, join(folder, layerLinkName));
  return { file: layerLinkName, uuid: superblock.uuid, blocks: superblock.blocks };
}

/**
 * The layer that Apply published in an extract snapshot, verified, or undefined when there is none.
 *
 * A plain file named `layer.erofs` in a snapshot that is not committed is what a Commit that did not finish left behind; its
 * source may have changed since, so it counts as none.
 *
 * @throws SnapshotterError `data-loss` when the image is damaged.
 */
export async function findExtractedLayer(folder: string): Promise<LayerRecord | undefined> {
  const link = join(folder, layerLinkName);
  let target: string;
  try {
    target = await readlink(link);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'EINVAL') return undefined;
    throw error;
  }
  const digest = digestOfFileName(target);
  if (digest === undefined || basename(target) !== target) return undefined;
  const superblock = await verifyLayer(join(folder, target));
  return { file: target, digest, uuid: superblock.uuid, blocks: superblock.blocks };
}

/** Removes every layer file of a snapshot that did not become committed. */
export async function withdrawLayers(folder: string): Promise<void> {
  for (const name of await layerFiles(folder)) await rm(join(folder, name), { force: true });
  await syncFolder(folder);
}

/** True when `folder` holds the plain `layer.erofs` of a Commit that did not finish. */
export async function hasUnfinishedConversion(folder: string): Promise<boolean> {
  try {
    return (await lstat(join(folder, layerLinkName))).isFile();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function layerFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder);
  return entries.filter((name) => name === layerLinkName || digestOfFileName(name) !== undefined);
}
