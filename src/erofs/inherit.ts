import { writeSync } from 'node:fs';
import { open, type FileHandle } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { SnapshotterError } from '../errors.js';
import type { OldestFirst, RootAttributes } from '../vocabulary.js';
import type { Layer } from './devices.js';
import { impliedBy, isImpliedFolder, undescribed } from './implied.js';
import { withAttributes } from './inode.js';
import { isOpaque } from './opaque.js';
import { damaged, type Superblock } from './superblock.js';
import { readRootAttributes } from './root.js';
import { ImageTree, type Directory } from './tree.js';

/** A directory as one layer has it. */
interface Place {
  readonly layer: LayerTree;
  readonly directory: Directory;
}

interface LayerTree {
  readonly tree: ImageTree;
  readonly hasImpliedFolders: boolean;
}

/** A directory that gets attributes, or leads to one that does. */
interface Branch {
  /** A byte string (latin1). */
  readonly name: string;
  readonly above: Branch | undefined;
  readonly attributes: RootAttributes | undefined;
  /** Those that lead to attributes. */
  readonly below: Branch[];
  /** Whether the one above knows of it. */
  isConnected: boolean;
}

/** What the layers say of directories that mkfs.erofs gets wrong. */
export interface Inheritance {
  readonly root: RootAttributes;
  readonly directories: readonly Branch[];
}

/** Chunks of 16 KiB that all layers together keep in memory, and one layer at least. */
const chunksOfAll = 512;
const chunksOfOne = 8;
/** Directories looked at before the daemon's other work gets its turn. */
const directoriesATurn = 256;

/**
 * What the merged image's root, and each directory that its newest layer only implies, is to have: the attributes of the newest older
 * layer that describes it, unless something between hides that; else 0755 root:root at time 0. Extended attributes are not inherited,
 * since there is no room for them. The layers alone tell, so this can be found out while they are merged.
 *
 * @throws SnapshotterError `data-loss` when a layer is damaged; the signal's reason
 */
export async function findInheritance(
  layers: OldestFirst<Layer>,
  signal: AbortSignal | undefined,
): Promise<Inheritance> {
  const root = await rootOf(layers);
  if (!layers.some((layer) => impliedBy(layer.superblock).folders)) return { root, directories: [] };
  return { root, directories: await withLayers(layers, (trees) => branchesOf(trees, signal)) };
}

/** A merged image that is open for writing. */
interface OpenImage {
  readonly file: FileHandle;
  readonly path: string;
  readonly superblock: Superblock;
}

/**
 * Gives the directories of a merged image what they inherit. The checksum has to be renewed afterwards.
 *
 * @throws SnapshotterError `data-loss` when the image is damaged; `internal` when it is not what the layers make
 */
export function inherit({ file, path, superblock }: OpenImage, { root, directories }: Inheritance): void {
  const merged = new ImageTree(file, path, superblock);
  write(file, path, merged.root(), root);
  const pending = [{ directory: merged.root(), below: directories }];
  for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
    for (const { name, attributes, below } of parent.below) {
      const directory = merged.find(parent.directory, name);
      if (directory === undefined || directory === 'other') throw unexpected(path, name);
      if (attributes) write(file, path, directory, attributes);
      pending.push({ directory, below });
    }
  }
}

async function branchesOf(
  newestFirst: readonly LayerTree[],
  signal: AbortSignal | undefined,
): Promise<readonly Branch[]> {
  const top: Branch = { name: '', above: undefined, attributes: undefined, below: [], isConnected: true };
  const places: readonly Place[] = newestFirst.map((layer) => ({ layer, directory: layer.tree.root() }));
  const pending = [{ branch: top, places }];
  let visited = 0;
  for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
    if (++visited % directoriesATurn === 0) await nextTurn();
    signal?.throwIfAborted();
    for (const name of namesBelow(parent.places)) {
      const below = descend(parent.places, name);
      if (below.length === 0) continue;
      const attributes = inherited(below);
      const branch: Branch = { name, above: parent.branch, attributes, below: [], isConnected: false };
      if (attributes) connect(branch);
      pending.push({ branch, places: below });
    }
  }
  return top.below;
}

/** Whatever is connected leads to attributes, and so do all above it. */
function connect(branch: Branch): void {
  for (let at = branch; at.above && !at.isConnected; at = at.above) {
    at.isConnected = true;
    at.above.below.push(at);
  }
}

/** As `chainRootAttributes`, with what the layers' superblocks were found to be. */
async function rootOf(layers: OldestFirst<Layer>): Promise<RootAttributes> {
  const newest = layers.findLast(({ superblock }) => !impliedBy(superblock).root);
  return newest === undefined ? undescribed : readRootAttributes(newest.path);
}

/** Names of the directories in those layers that imply some folder. */
function namesBelow(places: readonly Place[]): Set<string> {
  const names = new Set<string>();
  for (const { layer, directory } of places) {
    if (!layer.hasImpliedFolders) continue;
    for (const { name } of layer.tree.directoryEntries(directory)) names.add(name);
  }
  return names;
}

/** Where the directory `name` lies in the layers, as an overlay looks it up: anything else, and an opaque parent, end the search. */
function descend(places: readonly Place[], name: string): Place[] {
  const below: Place[] = [];
  for (const { layer, directory } of places) {
    const found = layer.tree.find(directory, name);
    if (found === 'other') break;
    if (found) below.push({ layer, directory: found });
    if (isOpaque(layer.tree, directory)) break;
  }
  return below;
}

/** Undefined when the newest layer describes the directory, whose attributes are then right already. */
function inherited(places: readonly Place[]): RootAttributes | undefined {
  for (const [index, { layer, directory }] of places.entries()) {
    const attributes = layer.tree.attributes(directory);
    if (layer.hasImpliedFolders && isImpliedFolder(attributes)) continue;
    return index === 0 ? undefined : attributes;
  }
  return undescribed;
}

async function withLayers<T>(
  layers: OldestFirst<Layer>,
  work: (newestFirst: readonly LayerTree[]) => Promise<T>,
): Promise<T> {
  const files: FileHandle[] = [];
  try {
    const chunks = Math.max(chunksOfOne, Math.floor(chunksOfAll / layers.length));
    const trees: LayerTree[] = [];
    for (const { path, superblock } of layers) {
      const file = await open(path);
      files.push(file);
      const tree = new ImageTree(file, path, superblock, chunks);
      trees.unshift({ tree, hasImpliedFolders: impliedBy(superblock).folders });
    }
    return await work(trees);
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}

/** Synchronous, since a way through the thread pool takes longer than writing 64 bytes to the page cache. */
function write(file: FileHandle, image: string, directory: Directory, attributes: RootAttributes): void {
  if (!directory.extended) {
    // Images are merged with extended inodes, so this is a tool that did not do as it was told.
    throw new SnapshotterError('internal', `a directory's inode in ${image} is too small for its owner and time`, {
      facts: { path: image },
    });
  }
  const inode = withAttributes(directory.inode, attributes);
  const written = writeSync(file.fd, inode, 0, inode.length, directory.offset);
  if (written < inode.length) throw damaged(image, `only ${written} bytes of an inode could be written`);
}

function unexpected(image: string, name: string): SnapshotterError {
  const shown = JSON.stringify(Buffer.from(name, 'latin1').toString('utf8'));
  return new SnapshotterError('internal', `mkfs.erofs left the directory ${shown} out of the merged image ${image}`, {
    facts: { path: image },
  });
}
