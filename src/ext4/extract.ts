import * as fs from 'node:fs';
import { open } from 'node:fs/promises';
import { setImmediate } from 'node:timers/promises';
import { errnoOf, CodedError } from '../errors.js';
import { asCodedError, makeNode, setModificationTime, setXattr } from '../host/index.js';
import { Ext4Reader, fileType, folderType, linkType, typeMask, type Ext4Inode } from './reader.js';
import { damagedExt4, readExt4Superblock } from './superblock.js';

export interface ExtractOptions {
  readonly image: string;
  /** A folder at the image's root. */
  readonly name: string;
  /** Where its copy is made: a path where nothing is yet, in a folder that only root may enter. */
  readonly target: string;
  readonly signal?: AbortSignal;
}

const rootInode = 2;
const pieceBytes = 1024 * 1024;
/** Milliseconds after which other work gets its turn. */
const turnMs = 5;
const slash = Buffer.from('/');

/**
 * Copies a folder of an ext4 image to this host with all that a layer can say of it, holes included, and without a mount.
 *
 * @returns whether there is such a folder; when not, nothing is made
 * @throws CodedError as {@link Ext4Reader}; system errors of this host's filesystem; the signal's reason
 */
export async function extractFolder(o: ExtractOptions): Promise<boolean> {
  const file = await open(o.image, 'r');
  try {
    const superblock = await readExt4Superblock(file, o.image);
    const reader = new Ext4Reader(file.fd, o.image, superblock);
    const entry = [...reader.entries(reader.inode(rootInode))].find(({ name }) => name.toString('latin1') === o.name);
    const folder = entry && reader.inode(entry.inode);
    if (folder === undefined || (folder.mode & typeMask) !== folderType) return false;
    const bytes = superblock.blocks * superblock.blockSize;
    await new Extraction(reader, file.fd, bytes, o).run(folder);
    return true;
  } catch (error) {
    throw worded(error, o);
  } finally {
    await file.close();
  }
}

interface Pending {
  readonly inode: Ext4Inode;
  readonly path: Buffer;
  /** All that is in it was made: its attributes are set last, since making something changes its time. */
  readonly filled: boolean;
}

class Extraction {
  readonly #reader: Ext4Reader;
  readonly #image: number;
  readonly #options: ExtractOptions;
  readonly #firstNames = new Map<number, Buffer>();
  readonly #folders = new Set<number>();
  readonly #piece = Buffer.allocUnsafe(pieceBytes);
  /** Bytes of data that may still be written: a sound image has no more than its own size. */
  #left: number;
  #turnBegan = performance.now();

  constructor(reader: Ext4Reader, image: number, bytes: number, options: ExtractOptions) {
    this.#reader = reader;
    this.#image = image;
    this.#left = bytes;
    this.#options = options;
  }

  async run(root: Ext4Inode): Promise<void> {
    const pending: Pending[] = [this.#begin(root, Buffer.from(this.#options.target))];
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      const { inode, path, filled } = next;
      if (filled) {
        this.#describe(inode, path);
        continue;
      }
      pending.push({ inode, path, filled: true });
      for (const { name, inode: number } of this.#reader.entries(inode)) {
        const child = this.#reader.inode(number);
        const place = Buffer.concat([path, slash, name]);
        if ((child.mode & typeMask) === folderType) pending.push(this.#begin(child, place));
        else await this.#make(child, place);
        await this.#turn();
      }
    }
  }

  #begin(inode: Ext4Inode, path: Buffer): Pending {
    if (this.#folders.has(inode.number)) throw this.#damaged(`folder ${inode.number} has two names`);
    this.#folders.add(inode.number);
    fs.mkdirSync(path, { mode: 0o700 });
    return { inode, path, filled: false };
  }

  async #make(inode: Ext4Inode, path: Buffer): Promise<void> {
    const first = this.#firstNames.get(inode.number);
    if (first) {
      fs.linkSync(first, path);
      return;
    }
    if (inode.links > 1) this.#firstNames.set(inode.number, path);
    const type = inode.mode & typeMask;
    if (type === fileType) await this.#copy(inode, path);
    else if (type === linkType) fs.symlinkSync(this.#reader.target(inode), path);
    else if (nodeTypes.has(type)) makeNode(path, type | 0o600, inode.device);
    else throw this.#damaged(`inode ${inode.number} has the mode 0${inode.mode.toString(8)}`);
    this.#describe(inode, path);
  }

  async #copy(inode: Ext4Inode, path: Buffer): Promise<void> {
    const copy = fs.openSync(path, 'wx', 0o600);
    try {
      fs.ftruncateSync(copy, inode.size);
      for (const { offset, at, length } of this.#reader.regions(inode)) {
        this.#left -= length;
        if (this.#left < 0) throw this.#damaged('its files hold more than it has');
        for (let done = 0; done < length;) {
          const bytes = Math.min(pieceBytes, length - done);
          const read = fs.readSync(this.#image, this.#piece, 0, bytes, at + done);
          if (read === 0) throw this.#damaged('it ends early');
          fs.writeSync(copy, this.#piece, 0, read, offset + done);
          done += read;
          await this.#turn();
        }
      }
    } finally {
      fs.closeSync(copy);
    }
  }

  #describe(inode: Ext4Inode, path: Buffer): void {
    fs.lchownSync(path, inode.uid, inode.gid);
    for (const [name, value] of this.#reader.xattrs(inode)) setXattr(path, name, value);
    if ((inode.mode & typeMask) !== linkType) fs.chmodSync(path, inode.mode & 0o7777);
    setModificationTime(path, inode.mtimeNs);
  }

  async #turn(): Promise<void> {
    if (performance.now() - this.#turnBegan < turnMs) return;
    await setImmediate();
    this.#options.signal?.throwIfAborted();
    this.#turnBegan = performance.now();
  }

  #damaged(what: string) {
    return damagedExt4(this.#options.image, what);
  }
}

/** What this host's filesystem refuses to hold, no sound ext4 of a guest has. */
function worded(error: unknown, { image, target, signal }: ExtractOptions): unknown {
  if (error instanceof CodedError || signal?.aborted) return error;
  const errno = errnoOf(error);
  if (errno === undefined || ['ENOSPC', 'EDQUOT', 'EIO', 'EROFS', 'EMFILE', 'ENFILE'].includes(errno)) {
    return asCodedError(error, `copying what is in ${image}`, target);
  }
  return damagedExt4(image, `this host cannot hold what is in it (${errno})`);
}

/** Devices, fifos and sockets. */
const nodeTypes = new Set([0o020000, 0o060000, 0o010000, 0o140000]);
