import { randomInt } from 'node:crypto';
import { EntrySum, entryTypes, impliedFolder, type EntryType, type Implied } from '../../erofs/index.js';
import { blockSize, malformed } from './block.js';
import { plainFolder, type Folder, type Leaf } from './nodes.js';
import { join } from './tree.js';
import { encodeEntry, endOfArchive, type Attributes, type CanonicalEntry } from './writer.js';
import { joinXattrs, opaqueXattr, originXattr, type Xattrs } from './xattrs.js';

/** Bytes that the paths of folders which no entry describes may have, since each is written. */
const impliedPathsMax = 64 * 1024 * 1024;
/** Of an EROFS image, in bytes: a block, and an extended inode with the head of its directory entry. */
const imageBlockSize = 4096;
const inodeBytes = 64 + 12;
const impliedAttributes: Attributes = { ...impliedFolder, mtime: Number(impliedFolder.mtime) };
const zeros = Buffer.alloc(256 * 1024);
const noDevice = { major: 0, minor: 0 };
const yes = Buffer.from('y');
const empty = Buffer.alloc(0);

/** Bytes that an image needs for something, about: every file takes whole blocks, and everything an inode. */
export function imageBytesOf(fileSize: number): number {
  return Math.ceil(fileSize / imageBlockSize) * imageBlockSize + inodeBytes;
}

/** Writes what mkfs.erofs gets. Everything that is handed on goes through {@link CanonicalTar.entry}, and each name once, but for folders `again`. */
export class CanonicalTar {
  readonly #write: (bytes: Buffer) => void;
  /** Chosen anew for each layer, so that its author cannot know it. */
  readonly #seed = randomInt(2 ** 32);
  readonly #sum = new EntrySum(this.#seed);
  readonly #block = Buffer.alloc(blockSize);
  #contentBytes = 0;

  /** @param write has the bytes during the call alone */
  constructor(write: (bytes: Buffer) => void) {
    this.#write = write;
    // Every image has a root.
    this.#sum.add('', entryTypes.directory, 0);
  }

  /** The tree handed on so far, to be compared with the image that comes of it. */
  get handedOn(): HandedOn {
    return { seed: this.#seed, sum: this.#sum.value, entries: this.#sum.count };
  }

  entry(entry: CanonicalEntry): void {
    this.#contentBytes = 0;
    this.#addUp(entry);
    this.#write(encodeEntry(entry, this.#block));
  }

  content(part: Buffer): void {
    this.#contentBytes += part.length;
    this.#write(part);
  }

  hole(bytes: number): void {
    this.#contentBytes += bytes;
    for (let left = bytes; left > 0; left -= zeros.length) this.#write(zeros.subarray(0, Math.min(left, zeros.length)));
  }

  /** The content of the last entry is complete. */
  ended(): void {
    this.hole((blockSize - (this.#contentBytes % blockSize)) % blockSize);
  }

  leaf(
    path: string,
    leaf: Leaf,
    device: { readonly major: number; readonly minor: number },
    xattrs: Xattrs | undefined,
  ): void {
    const { type, attributes, target: link, size } = leaf;
    const { major, minor } = type === '3' || type === '4' ? device : noDevice;
    this.entry({ path, type, attributes, link, size, major, minor, xattrs });
  }

  link(path: string, target: string, leaf: Leaf): void {
    this.entry({ path, type: '1', attributes: leaf.attributes, link: target, linked: leaf });
  }

  /** overlayfs' own form: a whiteout `.wh.<name>` could not be told from a file of that name. */
  whiteout(path: string): void {
    this.entry({ path, type: '3', attributes: { ...plainFolder, mode: 0 } });
  }

  /** @param xattrs those of the folder's own that were not handed on before */
  folder(path: string, folder: Folder, xattrs: Xattrs | undefined): void {
    const { described, opaque, anew, whiteouts, told } = folder;
    const marks = new Map<string, Buffer>();
    if (opaque && !told.opaque) marks.set(opaqueXattr, yes);
    if (whiteouts && !told.whiteouts) marks.set(originXattr, empty);
    // One that is only implied has the attributes that older layers give it.
    const attributes = described || anew || path === '' ? folder.attributes : impliedAttributes;
    const all = marks.size === 0 ? xattrs : joinXattrs(xattrs, marks, 0);
    this.entry({ path: path || '.', type: '5', attributes, xattrs: all, again: told.itself });
    folder.told = { itself: true, opaque, whiteouts };
  }

  end(): void {
    this.#write(endOfArchive);
  }

  #addUp({ path, type, size = 0, link = '', major = 0, minor = 0, again, linked }: CanonicalEntry): void {
    if (path === '.' || again === true) return;
    const file = linked ?? { type, size, target: link };
    const known = typesOfEntries[file.type];
    if (known === undefined) throw new Error(`an entry of the type ${file.type} was handed on`);
    // No hard link is to a whiteout.
    const isWhiteout = linked === undefined && major === 0 && minor === 0;
    this.#sum.add(path, known, sizeToCompare(file, isWhiteout));
  }
}

/** As `EntrySum.add` takes it. */
function sizeToCompare({ type, size, target }: NonNullable<CanonicalEntry['linked']>, isWhiteout: boolean): number {
  if (type === '0') return size;
  if (type === '2') return target.length;
  return type === '3' && !isWhiteout ? 1 : 0;
}

/** The entries of a tar that was handed on, and their sum; see `EntrySum`. */
export interface HandedOn {
  readonly seed: number;
  readonly sum: string;
  readonly entries: number;
}

const typesOfEntries: Readonly<Record<string, EntryType | undefined>> = {
  '0': entryTypes.file,
  '2': entryTypes.symlink,
  '3': entryTypes['character device'],
  '4': entryTypes['block device'],
  '5': entryTypes.directory,
  '6': entryTypes.fifo,
};

/** What the layer has no entries for, as the image writes it down. */
export function impliedBy(root: Folder): Implied {
  let folders = false;
  eachFolder(root, (path, folder) => {
    folders ||= path !== '' && !folder.described && !folder.anew;
  });
  return { root: !root.described, folders };
}

/** Parents before children. */
export function eachFolder(root: Folder, visit: (path: string, folder: Folder) => void): void {
  const walk = (folder: Folder, path: string): void => {
    visit(path, folder);
    for (const [name, node] of folder.children ?? []) if (node.kind === 'folder') walk(node, join(path, name));
  };
  walk(root, '');
}

/** @throws CodedError `invalid-argument` when describing the folders that no entry describes would take too much */
export function checkImplied(root: Folder, offset: number): void {
  let bytes = 0;
  const walk = (folder: Folder, length: number): void => {
    if (!folder.described) bytes += length;
    for (const [name, node] of folder.children ?? []) if (node.kind === 'folder') walk(node, length + 1 + name.length);
  };
  walk(root, 0);
  if (bytes <= impliedPathsMax) return;
  throw malformed(
    `it has more than ${impliedPathsMax} bytes of paths of folders that no entry describes`,
    offset,
    'build the layer with an entry for each folder, or as several layers',
  );
}
