import { open, type FileHandle } from 'node:fs/promises';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { CodedError } from '../errors.js';
import type { OldestFirst, RootAttributes } from '../vocabulary.js';
import type { Layer } from './devices.js';
import { impliedBy, isImpliedFolder, undescribed } from './implied.js';
import { renderInlay, xattrBytesOf, type InlayFolder } from './inlay.js';
import { isOpaque } from './opaque.js';
import { readRoot, type RootDirectory } from './root.js';
import { damaged } from './superblock.js';
import { ImageTree, nodeSize, type Directory } from './tree.js';

/** A directory as one layer has it. */
interface Place {
  readonly layer: LayerTree;
  readonly directory: Directory;
}

interface LayerTree {
  readonly tree: ImageTree;
  readonly path: string;
  /** The layer's place in the chain, counted from 1, oldest first. */
  readonly position: number;
  readonly hasImpliedFolders: boolean;
  /** Offsets of the directories that were met: one that is met twice leads in circles. */
  readonly met: Set<number>;
}

/** A directory that gets attributes, or leads to one that does. */
export interface Branch {
  /** A byte string (latin1). */
  readonly name: string;
  readonly above: Branch | undefined;
  /** Undefined when mkfs.erofs gets them right. */
  readonly attributes: RootAttributes | undefined;
  /** The newest layer's directory that describes it. */
  readonly described: Place | undefined;
  /** Those that lead to attributes. */
  readonly below: Branch[];
  /** Whether the one above knows of it. */
  isConnected: boolean;
}

/** An image to be merged above a layer, which is counted from 1, oldest first. */
export interface Inlay {
  readonly above: number;
  readonly bytes: Buffer;
}

/** What the layers say of things that mkfs.erofs gets wrong. */
export interface Corrections {
  readonly root: RootDirectory;
  readonly directories: readonly Branch[];
  /** Oldest first. */
  readonly inlays: readonly Inlay[];
}

/** Chunks of 16 KiB that all layers together keep in memory, and one layer at least. */
const chunksOfAll = 512;
const chunksOfOne = 8;
/** Names looked at before the daemon's other work gets its turn. */
const namesATurn = 4096;
/** mkfs.erofs makes no room for more xattrs than this on one directory, in bytes. */
const mostXattrBytes = 0xfff8;

/**
 * The root of a chain of layers, as an overlay of them shows it: that of the newest layer that describes one, since a layer whose tar
 * has no entry for it changes nothing; else 0755 root:root at time 0.
 *
 * @throws CodedError as `readSuperblock` does; `data-loss` when a root is not a directory; `failed-precondition` when its xattrs
 *   cannot be those of a merged image
 */
export async function chainRoot(layers: OldestFirst<string>): Promise<RootDirectory> {
  for (let index = layers.length - 1; index >= 0; index -= 1) {
    const root = await readRoot(layers[index] ?? '');
    if (root.implied) continue;
    mustHaveRoom(root.xattrs, layers[index] ?? '');
    return root;
  }
  return { attributes: undescribed, xattrs: [] };
}

/**
 * Looks the layers up as an overlay would, and tells what mkfs.erofs makes otherwise:
 * - a directory that its newest layer only implies is to have the attributes of the newest older layer that describes it, else 0755
 *   root:root at time 0; where the older one has xattrs, an inlay above all layers describes the directory;
 * - where a layer has something else in the place of a directory of older layers, and a newer one a directory again, nothing of the
 *   older ones is to come back: an inlay above that layer holds a whiteout of the name.
 *
 * Only directories that several layers have, or a layer implies, are looked at.
 *
 * @throws CodedError `data-loss` when a layer is damaged; `failed-precondition` as `chainRoot`; the signal's reason
 */
export async function findCorrections(
  layers: OldestFirst<Layer>,
  root: RootDirectory,
  signal: AbortSignal | undefined,
): Promise<Corrections> {
  if (layers.length < 2 && !layers.some((layer) => impliedBy(layer.superblock).folders)) {
    return { root, directories: [], inlays: [] };
  }
  return withLayers(layers, async (trees) => {
    const walk = new Walk(trees, signal);
    await walk.run();
    return { root, directories: walk.directories, inlays: walk.inlays() };
  });
}

class Walk {
  readonly #layers: readonly LayerTree[];
  readonly #signal: AbortSignal | undefined;
  readonly #top: Branch = {
    name: '',
    above: undefined,
    attributes: undefined,
    described: undefined,
    below: [],
    isConnected: true,
  };
  /** By the layer that they lie above. */
  readonly #inlays = new Map<number, InlayFolder>();
  #names = 0;

  constructor(newestFirst: readonly LayerTree[], signal: AbortSignal | undefined) {
    this.#layers = newestFirst;
    this.#signal = signal;
  }

  get directories(): readonly Branch[] {
    return this.#top.below;
  }

  inlays(): readonly Inlay[] {
    const found = [...this.#inlays].sort(([one], [other]) => one - other);
    return found.map(([above, root]) => ({ above, bytes: renderInlay(root) }));
  }

  async run(): Promise<void> {
    const places: readonly Place[] = this.#layers.map((layer) => ({ layer, directory: layer.tree.root() }));
    const pending = [{ branch: this.#top, places }];
    for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
      for (const name of await this.#namesBelow(parent.places)) {
        const { places, merged, replacedIn } = lookUp(parent.places, name);
        if (places.length === 0) continue;
        const branch = this.#branch(parent.branch, name, places);
        if (replacedIn !== undefined) this.#folderOf(replacedIn, parent.branch, false).entries.set(name, 'whiteout');
        for (const place of merged) meet(place);
        pending.push({ branch, places: merged });
      }
    }
  }

  #branch(above: Branch, name: string, places: readonly Place[]): Branch {
    const index = places.findIndex(({ layer, directory }) => !isImplied(layer, directory));
    const described = places[index];
    const isRight = index === 0;
    const attributes = isRight ? undefined : ((described && attributesOf(described)) ?? undescribed);
    const branch: Branch = { name, above, attributes, described, below: [], isConnected: false };
    if (attributes) connect(branch);
    if (!isRight && described && xattrsOf(described).length > 0) this.#folderOf(this.#layers.length, branch, true);
    return branch;
  }

  /** The folder of an inlay at the place of a branch, and those above it. */
  #folderOf(above: number, branch: Branch, isDescribed: boolean): InlayFolder {
    const folder = (place?: Place): InlayFolder => ({
      attributes: place ? attributesOf(place) : undescribed,
      xattrs: place ? xattrsOf(place) : [],
      entries: new Map(),
    });
    const way: Branch[] = [];
    for (let at = branch; at.above; at = at.above) way.unshift(at);
    let at = this.#inlays.get(above) ?? folder();
    this.#inlays.set(above, at);
    for (const { name, described } of way) {
      const known = at.entries.get(name);
      // Newer layers describe what leads to a whiteout, and what they say is what counts.
      const next = known !== undefined && known !== 'whiteout' ? known : folder(isDescribed ? described : undefined);
      at.entries.set(name, next);
      at = next;
    }
    return at;
  }

  /** Names of the directories that several places have, and of all in those layers that imply some folder. */
  async #namesBelow(places: readonly Place[]): Promise<readonly string[]> {
    const largest = largestOf(places);
    const counts = new Map<string, number>();
    for (const place of places) {
      if (place === largest) continue;
      const { layer, directory } = place;
      for (const { name } of layer.tree.directoryEntries(directory)) {
        if (++this.#names % namesATurn === 0) {
          await nextTurn();
          this.#signal?.throwIfAborted();
        }
        counts.set(name, layer.hasImpliedFolders ? 2 : (counts.get(name) ?? 0) + 1);
      }
    }
    this.#signal?.throwIfAborted();
    return [...counts].filter(([name, count]) => count > 1 || has(largest, name)).map(([name]) => name);
  }
}

/** The one whose names need not be listed: what it shares with others is found by theirs. */
function largestOf(places: readonly Place[]): Place | undefined {
  return places
    .filter(({ layer }) => !layer.hasImpliedFolders)
    .reduce<Place | undefined>(
      (largest, place) =>
        largest === undefined || nodeSize(place.directory) > nodeSize(largest.directory) ? place : largest,
      undefined,
    );
}

function has(place: Place | undefined, name: string): boolean {
  const found = place?.layer.tree.find(place.directory, name);
  return found !== undefined && found !== 'other';
}

interface LookedUp {
  /** Newest first; none when the newest of that name is no directory. */
  readonly places: readonly Place[];
  /** Those of which the contents show: an opaque directory hides what is in older ones, and not what they are. */
  readonly merged: readonly Place[];
  /** The layer that has something else there, although mkfs.erofs goes on to directories of older layers. */
  readonly replacedIn: number | undefined;
}

/**
 * Where the directory `name` lies in the layers, as an overlay looks it up: anything else ends the search. Of what mkfs.erofs merges, a
 * whiteout and an opaque directory alone end it.
 */
function lookUp(parents: readonly Place[], name: string): LookedUp {
  const places: Place[] = [];
  let opaqueAt: number | undefined;
  let replacedIn: number | undefined;
  for (const { layer, directory } of parents) {
    const found = layer.tree.find(directory, name);
    if (found === undefined) continue;
    if (found === 'other') {
      const isEnd = places.length === 0 || opaqueAt !== undefined || isWhiteout(layer.tree, directory, name);
      if (isEnd) break;
      replacedIn ??= layer.position;
    } else if (replacedIn !== undefined) {
      return { places, merged: places, replacedIn };
    } else {
      places.push({ layer, directory: found });
      if (opaqueAt === undefined && isOpaque(layer.tree, found)) opaqueAt = places.length;
    }
  }
  return { places, merged: places.slice(0, opaqueAt), replacedIn: undefined };
}

const typeMask = 0o170000;
const characterDevice = 0o020000;

function isWhiteout(tree: ImageTree, directory: Directory, name: string): boolean {
  const entry = tree.entry(directory, name);
  if (!entry) return false;
  const { inode } = tree.node(entry.nid);
  return (inode.readUInt16LE(4) & typeMask) === characterDevice && inode.readUInt32LE(16) === 0;
}

function meet({ layer: { met, path }, directory: { offset } }: Place): void {
  if (met.has(offset)) throw damaged(path, 'a directory in it has two parents');
  met.add(offset);
}

/** Whatever is connected leads to attributes, and so do all above it. */
function connect(branch: Branch): void {
  for (let at = branch; at.above && !at.isConnected; at = at.above) {
    at.isConnected = true;
    at.above.below.push(at);
  }
}

function isImplied(layer: LayerTree, directory: Directory): boolean {
  return layer.hasImpliedFolders && isImpliedFolder(layer.tree.attributes(directory));
}

function attributesOf({ layer, directory }: Place): RootAttributes {
  return layer.tree.attributes(directory);
}

function xattrsOf({ layer, directory }: Place): readonly Buffer[] {
  const xattrs = layer.tree.shownXattrs(directory);
  mustHaveRoom(xattrs, layer.path);
  return xattrs;
}

function mustHaveRoom(xattrs: readonly Buffer[], path: string): void {
  const bytes = xattrBytesOf(xattrs);
  if (bytes <= mostXattrBytes) return;
  throw new CodedError('failed-precondition', `a directory in ${path} has ${bytes} bytes of xattrs`, {
    facts: { path, bytes, most: mostXattrBytes },
  });
}

async function withLayers<T>(
  layers: OldestFirst<Layer>,
  work: (newestFirst: readonly LayerTree[]) => Promise<T>,
): Promise<T> {
  const files: FileHandle[] = [];
  try {
    const chunks = Math.max(chunksOfOne, Math.floor(chunksOfAll / layers.length));
    const trees: LayerTree[] = [];
    for (const [index, { path, superblock }] of layers.entries()) {
      const file = await open(path);
      files.push(file);
      const tree = new ImageTree(file, path, superblock, chunks);
      const hasImpliedFolders = impliedBy(superblock).folders;
      trees.unshift({ tree, path, position: index + 1, hasImpliedFolders, met: new Set() });
    }
    return await work(trees);
  } finally {
    await Promise.all(files.map((file) => file.close()));
  }
}
