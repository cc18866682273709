import { link, lstat, readdir, readlink, rename, rm, stat, symlink } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf, CodedError } from '../errors.js';
import { verifyLayer, type Superblock } from '../erofs/index.js';
import { publish, removeTree, setImmutable, syncFolder, temporaryBeside } from '../host/index.js';
import { Slots } from '../jobs.js';
import type { Digest } from '../vocabulary.js';
import { digestOfFileName, layerFileName, layerLinkName } from './names.js';
import { conversionRules } from './rules.js';
import type { ConvertedLayer } from './target.js';

/** What a record keeps of a snapshot's layer. */
export interface LayerRecord {
  /** The file's name in the snapshot's folder. */
  readonly file: string;
  readonly uuid: string;
  /** Size of the image in blocks of 4096 bytes. */
  readonly blocks: number;
  /** The rules of its conversion, see `conversionRules`; absent when a release before them made it. */
  readonly rules?: number;
  /** Where it came from, when Apply made it. */
  readonly applied?: AppliedLayer;
}

export interface AppliedLayer {
  readonly digest: Digest;
  readonly diffId: Digest;
  readonly tarBytes: number;
  /** The image's time of modification in nanoseconds, by which a later change is noticed. */
  readonly modified: string;
}

/** Makes an image that Apply converted the layer of `folder`. */
export async function publishAppliedLayer(
  folder: string,
  temporaryPath: string,
  layer: ConvertedLayer,
): Promise<LayerRecord> {
  const { digest, diffId, tarBytes, superblock } = layer;
  const file = layerFileName(digest);
  await publish(temporaryPath, join(folder, file));
  await linkLayer(folder, file);
  const modified = await modificationTime(join(folder, file));
  const { uuid, blocks } = superblock;
  return { file, uuid, blocks, rules: conversionRules, applied: { digest, diffId, tarBytes, modified } };
}

/**
 * Makes the layer of another snapshot that of `folder` too, by a hard link: either can be removed without the other.
 *
 * @throws CodedError `data-loss` when it is damaged, or was changed since it was converted; `not-found` when it is gone
 */
export async function shareLayer(owner: string, layer: LayerRecord, folder: string): Promise<void> {
  const source = join(owner, layer.file);
  await checkUnchanged(source, layer);
  await hardLink(source, join(folder, layer.file));
  await linkLayer(folder, layer.file);
}

/**
 * Checks that a layer's file is there, whole, and the one that was recorded.
 *
 * @throws CodedError `data-loss`, `not-found`
 */
export async function checkLayer(path: string, { uuid, blocks }: LayerRecord): Promise<void> {
  const superblock = await verifyLayer(path, uuid);
  if (superblock.blocks === blocks) return;
  throw new CodedError('data-loss', `the layer ${path} has ${superblock.blocks} blocks instead of ${blocks}`, {
    facts: { path },
    next: 'remove the image and pull it again',
  });
}

/**
 * Checks as well that an image that Apply made was not written to since. Not for layers that nothing else can replace: a root that
 * was copied without its times is as good as before.
 *
 * @throws CodedError `data-loss`, `not-found`
 */
export async function checkUnchanged(path: string, layer: LayerRecord): Promise<void> {
  await checkLayer(path, layer);
  const { applied } = layer;
  if (!applied || (await modificationTime(path)) === applied.modified) return;
  throw new CodedError('data-loss', `the layer ${path} was changed after it was made`, {
    facts: { path },
    next: 'remove the image and pull it again',
  });
}

/** Makes an image that Commit converted the layer of `folder`: a plain `layer.erofs`, since no descriptor names it. */
export async function publishConvertedLayer(
  folder: string,
  temporaryPath: string,
  superblock: Superblock,
): Promise<LayerRecord> {
  await publish(temporaryPath, join(folder, layerLinkName));
  return { file: layerLinkName, uuid: superblock.uuid, blocks: superblock.blocks, rules: conversionRules };
}

/** Removes every layer file of a snapshot that did not become committed. */
export async function withdrawLayers(folder: string): Promise<void> {
  for (const name of await layerFiles(folder)) await removeTree(join(folder, name));
  await syncFolder(folder);
}

/**
 * Leaves in `folder` the layer that its record names and no other: an Apply publishes its layer beside the one before, and the
 * record decides between them.
 */
export async function keepLayer(folder: string, { file }: LayerRecord): Promise<void> {
  const linked = await readlink(join(folder, layerLinkName)).catch(() => undefined);
  if (linked !== file) await linkLayer(folder, file);
  const others = (await layerFiles(folder)).filter((name) => name !== file && name !== layerLinkName);
  if (others.length === 0) return;
  for (const other of others) await removeTree(join(folder, other));
  await syncFolder(folder);
}

/** Puts away what a call that was cut short left in the folder of a snapshot that is not committed; `layer` is what its record names. */
export async function settleLayer(folder: string, layer: LayerRecord | undefined): Promise<void> {
  if (layer) await keepLayer(folder, layer);
  else if (await hasUnfinishedConversion(folder)) await withdrawLayers(folder);
}

/** True when `folder` holds the plain `layer.erofs` of a Commit that did not finish. */
async function hasUnfinishedConversion(folder: string): Promise<boolean> {
  try {
    return (await lstat(join(folder, layerLinkName))).isFile();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

/** Points `layer.erofs` at `file`, for readers that look a layer up by that name. */
async function linkLayer(folder: string, file: string): Promise<void> {
  const linkPath = join(folder, layerLinkName);
  const temporary = temporaryBeside(linkPath);
  try {
    await symlink(file, temporary);
    await rename(temporary, linkPath);
  } finally {
    await rm(temporary, { force: true });
  }
  await syncFolder(folder);
}

/** One at a time: setting the attribute again sets it for all names of the file. */
const lifting = new Slots(1);

/**
 * Gives a file its second name at once, without a temporary one: a link is whole from the start, and with the attribute set
 * again neither name could be renamed or removed. An immutable file takes no further name, so the attribute is lifted for that
 * moment.
 */
async function hardLink(source: string, target: string): Promise<void> {
  if (await isSameFile(source, target)) return;
  // What an Apply that did not finish left. The symbolic link points nowhere until the new name is there.
  await removeTree(target);
  try {
    await link(source, target);
  } catch (error) {
    if (errnoOf(error) !== 'EPERM') throw error;
    await lifting.run(() => linkImmutable(source, target, error));
  }
}

async function isSameFile(one: string, other: string): Promise<boolean> {
  const [first, second] = await Promise.all([one, other].map((path) => lstat(path).catch(() => undefined)));
  return first !== undefined && first.dev === second?.dev && first.ino === second.ino;
}

async function linkImmutable(source: string, target: string, refusal: unknown): Promise<void> {
  if (!(await setImmutable(source, false))) throw refusal;
  try {
    await link(source, target);
  } finally {
    await setImmutable(source, true);
  }
}

async function modificationTime(path: string): Promise<string> {
  return String((await stat(path, { bigint: true })).mtimeNs);
}

async function layerFiles(folder: string): Promise<string[]> {
  const entries = await readdir(folder);
  return entries.filter((name) => name === layerLinkName || digestOfFileName(name) !== undefined);
}
