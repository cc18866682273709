import { EntrySum, hashOn, type EntryType, type PathHash } from './entry-sum.js';
import { checkNode } from './node-check.js';
import { damaged, readSuperblockOf, withImage, type Superblock } from './superblock.js';
import { ImageTree, nodeSize, type Directory, type Node } from './tree.js';

/** Entries of an image that is walked, unless the caller knows better. A layer of a million files is a large one. */
const mostEntries = 10_000_000;
/** Bytes; no program can open a longer path (PATH_MAX, Linux 6.18), and mkfs.erofs descends recursively. */
const longestPath = 4096;
const longestName = 255;

export interface WalkOptions {
  /** How many entries the image may have. */
  readonly maximumEntries?: number;
  /** Looks at what each inode says of its data and its xattrs as well. */
  readonly thorough?: boolean;
  /** Of the sum; see `EntrySum`. */
  readonly seed?: number;
}

export interface WalkedTree {
  /** How many entries there are, with the root, and their sum; see `EntrySum`. */
  readonly sum: string;
  readonly entries: number;
  /** Whether a file in it is so large, and in chunks, that mkfs.erofs merges it wrongly; see `node-check.ts`. Only when thorough. */
  readonly hasLargeChunkedFile: boolean;
}

interface Place {
  readonly directory: Directory;
  /** A byte string (latin1); empty for the root. */
  readonly path: string;
  readonly hash: PathHash;
}

/**
 * Walks all metadata of an image: each entry once. Blocks its thread meanwhile, so it belongs in a worker. Time is bounded by the image's
 * size and the number of entries, memory by the number of its directories.
 *
 * @throws CodedError `data-loss` unless the metadata is a tree: directories with one parent each, whose names are in order and
 *   can be names, of inodes that are what the directories say; else as `readSuperblock` and `ImageTree`
 */
export async function walkImage(path: string, o: WalkOptions = {}): Promise<WalkedTree> {
  return withImage(path, 'r', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    return new Walk(new ImageTree(file, path, superblock), path, superblock, o).run();
  });
}

class Walk {
  readonly #tree: ImageTree;
  readonly #path: string;
  readonly #superblock: Superblock;
  readonly #maximumEntries: number;
  readonly #thorough: boolean;
  readonly #sum: EntrySum;
  /** Offsets of the directories found so far. */
  readonly #seen = new Set<number>();
  readonly #pending: Place[] = [];
  /** What directories, indexes of chunks and xattrs take: they share nothing, so together no more than the image. */
  #claimedBytes = 0;
  #hasLargeChunkedFile = false;

  constructor(tree: ImageTree, path: string, superblock: Superblock, o: WalkOptions) {
    this.#tree = tree;
    this.#path = path;
    this.#superblock = superblock;
    this.#maximumEntries = o.maximumEntries ?? mostEntries;
    this.#thorough = o.thorough ?? false;
    this.#sum = new EntrySum(o.seed);
  }

  run(): WalkedTree {
    this.#directory({ directory: this.#tree.root(), path: '', hash: this.#sum.root });
    for (let place = this.#pending.pop(); place !== undefined; place = this.#pending.pop()) this.#entriesOf(place);
    const { value: sum, count: entries } = this.#sum;
    return { sum, entries, hasLargeChunkedFile: this.#hasLargeChunkedFile };
  }

  #entriesOf({ directory, path, hash }: Place): void {
    const prefix = path === '' ? '' : '/';
    let before = '';
    for (const { name, nid, type } of this.#tree.entries(directory)) {
      this.#checkName(path, name, before);
      before = name;
      const node = this.#tree.node(nid);
      if (typeOf(node) !== type) throw this.#fault(path, name, `is of type ${type}, and its inode of another`);
      const below = hashOn(hash, prefix + name);
      if (type === directoryType) this.#directory({ directory: node, path: path + prefix + name, hash: below });
      else this.#other(node, type as EntryType, below);
    }
  }

  #checkName(path: string, name: string, before: string): void {
    if (name === '' || name.length > longestName || name.includes('/') || name.includes('\0')) {
      throw this.#fault(path, name, 'has a name that no file can have');
    }
    if (name <= before) throw this.#fault(path, name, 'is out of order');
    if (path.length + name.length + 1 > longestPath) {
      throw this.#fault('…', name, `has a path of more than ${longestPath} bytes`);
    }
  }

  #directory(place: Place): void {
    const { directory, hash, path } = place;
    if (this.#seen.has(directory.offset)) throw this.#fault(path, '', 'is a directory that stands in two places');
    this.#seen.add(directory.offset);
    this.#claim(nodeSize(directory));
    this.#count(hash, directoryType, 0);
    if (this.#thorough) this.#check(directory);
    this.#pending.push(place);
  }

  #other(node: Node, type: EntryType, hash: PathHash): void {
    this.#count(hash, type, sizeOf(node, type));
    if (this.#thorough) this.#check(node);
  }

  #count(hash: PathHash, type: EntryType, size: number): void {
    this.#sum.addHashed(hash, type, size);
    if (this.#sum.count > this.#maximumEntries) {
      throw damaged(this.#path, `it has more than ${this.#maximumEntries} entries`);
    }
  }

  #check(node: Node): void {
    this.#claim(node.xattrs.length);
    const { mergesWrongly, indexBytes } = checkNode(this.#tree, node, this.#path, this.#superblock);
    this.#claim(indexBytes);
    this.#hasLargeChunkedFile ||= mergesWrongly;
  }

  #claim(bytes: number): void {
    this.#claimedBytes += bytes;
    if (this.#claimedBytes > this.#superblock.bytes) throw damaged(this.#path, 'parts of its metadata overlap');
  }

  #fault(path: string, name: string, how: string) {
    const shown = JSON.stringify(`${path.slice(0, 200)}/${name.slice(0, 100)}`);
    return damaged(this.#path, `${shown} in it ${how}`);
  }
}

const fileType = 1;
const directoryType = 2;
const characterDeviceType = 3;
const symlinkType = 7;

/** As `EntrySum.add` takes it. */
function sizeOf(node: Node, type: EntryType): number {
  if (type === fileType || type === symlinkType) return nodeSize(node);
  return type === characterDeviceType && node.inode.readUInt32LE(16) !== 0 ? 1 : 0;
}

/** The number that directories have for what `st_mode` says of an inode; 0 for nothing that there is. */
const typesByMode = new Map<number, number>([
  [0o100000, fileType],
  [0o040000, directoryType],
  [0o020000, characterDeviceType],
  [0o060000, 4],
  [0o010000, 5],
  [0o140000, 6],
  [0o120000, symlinkType],
]);

function typeOf({ inode }: Node): number {
  return typesByMode.get(inode.readUInt16LE(4) & 0o170000) ?? 0;
}
