import { blockSize, isZeroBlock, malformed, parseHeader, shown, type TarHeader } from './tar-header.js';
import { TarFolders } from './tar-folders.js';
import { checkSymlinkTarget, opaqueMarker, parsePath, whiteoutTarget } from './tar-names.js';
import { checkGlobalPax, parsePax, type PaxAttributes } from './tar-pax.js';

/** What a sound tar holds. */
export interface TarFindings {
  readonly entries: number;
  /** Whether the root folder has an entry. */
  readonly describesRoot: boolean;
  /** Folders that entries need and none describes, parents first, as byte strings (latin1). */
  readonly missingFolders: readonly string[];
}

/** Bytes of an extended header or a long name; no archiver comes near it. */
const specialMax = 1024 * 1024;
const noAttributes: PaxAttributes = {};
/** Of an EROFS image, in bytes: a block, and an extended inode with the head of its directory entry. */
const imageBlockSize = 4096;
const inodeBytes = 64 + 12;

const refusedTypes: Readonly<Record<string, string>> = {
  '\0': 'the entry is of the type that archivers before 1988 gave to files',
  S: 'the entry is a sparse file',
};

/**
 * Reads a tar as it goes by, and refuses what mkfs.erofs accepts silently but converts to something else: tars that end inside a
 * header, entry types it drops, sparse files, attributes too large for EROFS, whiteouts of nothing. Memory: one buffer of at
 * most 1 MiB and the names of the folders, each once and together bounded.
 */
export class TarCheck {
  /** Bytes taken so far. */
  #position = 0;
  #entryOffset = 0;
  #entries = 0;
  /** What the image takes beyond what the tar takes. Not what entries say they have: that may be a lie. */
  #roundedUp = 0;
  #end: number | undefined;
  #zeroBlocks = 0;
  #skip = 0;
  /** A block that comes in parts, and how much of it has come. */
  #parts = Buffer.alloc(0);
  #gathered = 0;
  /** The special entry whose body is being gathered. */
  #special: TarHeader | undefined;
  #needed = blockSize;
  #pax = noAttributes;
  #longName: string | undefined;
  #longLink: string | undefined;
  readonly #folders = new TarFolders();

  /** How many of the next bytes carry nothing to check: a reader may call `skip` instead of reading them. */
  get skippable(): number {
    return this.#end === undefined ? this.#skip : Infinity;
  }

  skip(bytes: number): void {
    this.#skip = Math.max(0, this.#skip - bytes);
    this.#position += bytes;
  }

  /** Bytes of the image that mkfs.erofs makes of the entries so far, about: every file takes whole blocks, and everything an inode. */
  get imageBytes(): number {
    return this.#position + this.#roundedUp;
  }

  /** The byte at which the end-of-archive blocks begin, as far as it is known: what comes before it belongs to entries. */
  get contentEnd(): number {
    return this.#end ?? this.#position - this.#zeroBlocks * blockSize;
  }

  /** @throws SnapshotterError `invalid-argument` with the offset of the entry that is refused */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      const left = chunk.length - at;
      const skipped = Math.min(left, this.skippable);
      if (skipped > 0) {
        this.skip(skipped);
        at += skipped;
        continue;
      }
      const taken = Math.min(left, this.#needed - this.#gathered);
      const part = chunk.subarray(at, at + taken);
      at += taken;
      this.#position += taken;
      if (taken === this.#needed) this.#take(part);
      else this.#gather(part);
    }
  }

  /** @throws SnapshotterError `invalid-argument` when the tar ends inside an entry */
  finish(): TarFindings {
    if (this.#end === undefined) {
      const inside = this.#skip > 0 || this.#gathered > 0 || this.#special !== undefined;
      if (inside || this.#pax !== noAttributes || this.#longName !== undefined || this.#longLink !== undefined) {
        throw malformed(`the tar ends inside the entry that begins at byte ${this.#entryOffset}`, this.#position);
      }
    }
    const { describesRoot } = this.#folders;
    return { entries: this.#entries, describesRoot, missingFolders: this.#folders.missing() };
  }

  #gather(part: Buffer): void {
    if (this.#parts.length !== this.#needed) this.#parts = Buffer.allocUnsafe(this.#needed);
    this.#gathered += part.copy(this.#parts, this.#gathered);
    if (this.#gathered < this.#needed) return;
    this.#gathered = 0;
    this.#take(this.#parts);
  }

  #take(block: Buffer): void {
    const special = this.#special;
    this.#special = undefined;
    this.#needed = blockSize;
    if (special) {
      this.#takeSpecial(special, block.subarray(0, special.size));
      return;
    }
    const offset = this.#position - blockSize;
    if (isZeroBlock(block)) this.#takeZeros(offset);
    else this.#takeHeader(block, offset);
  }

  /** Two zero blocks end the archive; whatever follows belongs to the file, not to the tree. */
  #takeZeros(offset: number): void {
    if (this.#pax !== noAttributes || this.#longName !== undefined || this.#longLink !== undefined) {
      throw malformed('the tar ends after an extended header that belongs to no entry', offset);
    }
    this.#zeroBlocks += 1;
    if (this.#zeroBlocks === 2) this.#end = offset - blockSize;
  }

  #takeHeader(block: Buffer, offset: number): void {
    if (this.#zeroBlocks > 0) throw malformed('an entry follows a lone zero block', offset);
    const header = parseHeader(block, offset);
    this.#entryOffset = offset;
    if ('xgLK'.includes(header.type)) {
      if (header.size > specialMax) throw malformed(`an extended header is ${header.size} bytes long`, offset);
      this.#special = header;
      this.#needed = padded(header.size);
      if (this.#needed === 0) this.#take(Buffer.alloc(0));
      return;
    }
    this.#takeEntry(header, offset);
    this.#pax = noAttributes;
    this.#longName = this.#longLink = undefined;
  }

  #takeSpecial({ type }: TarHeader, body: Buffer): void {
    if (type === 'x') this.#pax = { ...this.#pax, ...parsePax(body, this.#entryOffset) };
    else if (type === 'g') checkGlobalPax(body, this.#entryOffset);
    else if (type === 'L') this.#longName = untilZero(body);
    else this.#longLink = untilZero(body);
  }

  #takeEntry(header: TarHeader, offset: number): void {
    const { type } = header;
    const size = this.#pax.size ?? header.size;
    const path = parsePath(this.#longName ?? this.#pax.path ?? header.name, offset);
    const link = this.#longLink ?? this.#pax.linkpath ?? header.link;
    if (!'01234567'.includes(type)) {
      throw malformed(refusedTypes[type] ?? `the entry is of the unknown type ${shown(type)}`, offset);
    }
    // Archivers disagree on whether such data is there, and mkfs.erofs ends the tree at the first such entry.
    if (size !== 0 && type !== '0' && type !== '7') {
      throw malformed(`${shown(path.join('/'))} is not a file and states a size of ${size}`, offset);
    }
    if (path.length === 0 && type !== '5')
      throw malformed('the root is described as something other than a folder', offset);
    if (type === '1') parsePath(link, offset);
    if (size !== 0 && path.at(-1) === opaqueMarker) {
      // mkfs.erofs takes the content for the next header, and ends the tree there.
      throw malformed(`the whiteout ${shown(path.join('/'))} has content`, offset);
    }
    if (type === '2') checkSymlinkTarget(link, offset);
    const removed = whiteoutTarget(path, type, offset);
    this.#folders.add(path, type === '5' && removed === undefined, offset);
    if (removed) this.#folders.remove(removed);
    this.#entries += 1;
    this.#roundedUp += Math.ceil(size / imageBlockSize) * imageBlockSize - padded(size) + inodeBytes;
    this.#skip = padded(size);
  }
}

function padded(size: number): number {
  return Math.ceil(size / blockSize) * blockSize;
}

function untilZero(body: Buffer): string {
  const end = body.indexOf(0);
  return body.toString('latin1', 0, end === -1 ? body.length : end);
}
