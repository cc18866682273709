import { blockSize, isZeroBlock, malformed, padded, text } from './block.js';
import type { TarEntry } from './entry.js';
import { parseHeader, type TarHeader } from './header.js';
import { attributesOf, parsePax, type PaxAttributes, type PaxRecords } from './pax.js';
import { checkRegions, RegionMap, type Region } from './sparse.js';

/** Takes what a tar holds, in its order. */
export interface TarSink {
  /** @returns whether its content is wanted; what is not is skipped */
  entry(entry: TarEntry): boolean;
  /** A part of the content that was wanted; valid during the call alone. */
  content(part: Buffer): void;
  /** So many zeros of the content: a hole of a sparse file. */
  hole(bytes: number): void;
  /** The content is complete. */
  ended(): void;
}

/** Bytes of an extended header or a long name, as Go's archive/tar allows. */
const specialMax = 1024 * 1024;
/** Extended headers before one entry. No archiver writes more than three. */
const specialsMax = 8;
/** Records that extended headers may have, altogether and for each entry on average: archivers write less than ten. */
const recordsMax = 100_000;
const recordsPerEntry = 32;
/** Of all extended headers: 2 KiB for each of a million entries. */
const specialBytesMax = 2 * 1024 * 1024 * 1024;

const sparseAdvice = 'write the layer in the pax format';
const noAttributes: PaxAttributes = {};
/** No data follows these, whatever size they state. */
const withoutData = '123456';

/** A file whose content goes by. */
interface Body {
  /** Stored bytes to come, then those that fill the block. */
  left: number;
  padding: number;
  readonly wanted: boolean;
  /** Of a sparse file: regions to come, and where the content has got to. */
  readonly sparse: { readonly regions: readonly Region[]; readonly size: number; next: number; at: number } | undefined;
}

/** A sparse file whose map goes by. */
interface Mapping {
  readonly map: RegionMap;
  readonly header: TarHeader;
  /** Bytes with the map. */
  readonly stored: number;
}

/**
 * Reads a tar as it goes by, by the meaning of Go's archive/tar, which containerd reads layers with: each header is parsed once, here. Of two
 * extended headers before one entry the second counts; GNU's long names come before pax, and a sparse file's name before both; an
 * extended header's own size is that of its own header. Memory: one buffer of at most 1 MiB.
 */
export class TarReader {
  readonly #sink: TarSink;
  /** Bytes taken so far. */
  #position = 0;
  #entryOffset = 0;
  #entries = 0;
  #recordCount = 0;
  #specialBytes = 0;
  #ended = false;
  #zeroBlocks = 0;
  #body: Body | undefined;
  /** A block that comes in parts, and how much of it has come. */
  #parts = Buffer.alloc(0);
  #gathered = 0;
  #needed = blockSize;
  /** What the gathered bytes are, when they are no header. */
  #special: TarHeader | undefined;
  #map: Mapping | undefined;
  #specials = 0;
  #records: PaxRecords | undefined;
  /** What the records say of the entry that goes by. */
  #pax = noAttributes;
  #longName = '';
  #longLink = '';
  readonly #countRecord = () => {
    this.#recordCount += 1;
    if (this.#recordCount <= recordsMax + recordsPerEntry * this.#entries) return;
    throw malformed(
      `there are more than ${this.#recordCount - 1} records in extended headers so far`,
      this.#entryOffset,
    );
  };

  constructor(sink: TarSink) {
    this.#sink = sink;
  }

  /** Bytes so far. */
  get position(): number {
    return this.#position;
  }

  /** @throws CodedError `invalid-argument` with the offset of the entry that is refused, and what the sink throws */
  push(chunk: Buffer): void {
    for (let at = 0; at < chunk.length;) {
      if (this.#ended) {
        this.#position += chunk.length - at;
        return;
      }
      const left = chunk.length - at;
      if (this.#body) {
        at += this.#takeBody(this.#body, chunk, at);
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

  /** To be called at the end. @throws CodedError `invalid-argument` when the tar ends inside an entry */
  finish(): void {
    if (this.#ended) return;
    // The last file may lack what fills its block.
    const inside = (this.#body?.left ?? 0) > 0 || this.#gathered > 0 || this.#special !== undefined || this.#map;
    if (!inside && this.#specials === 0) return;
    throw malformed(`the tar ends inside the entry that begins at byte ${this.#entryOffset}`, this.#position);
  }

  #gather(part: Buffer): void {
    if (this.#parts.length !== this.#needed) this.#parts = Buffer.allocUnsafe(this.#needed);
    this.#gathered += part.copy(this.#parts, this.#gathered);
    if (this.#gathered < this.#needed) return;
    this.#gathered = 0;
    this.#take(this.#parts);
  }

  #take(block: Buffer): void {
    if (this.#map) {
      this.#takeMap(this.#map, block);
      return;
    }
    const special = this.#special;
    this.#special = undefined;
    this.#needed = blockSize;
    const offset = this.#position - blockSize;
    if (special) this.#takeSpecial(special, block.subarray(0, special.size));
    else if (isZeroBlock(block)) this.#takeZeros(offset);
    else this.#takeHeader(block, offset);
  }

  /** Two zero blocks end the archive; whatever follows belongs to the file, not to the tree. */
  #takeZeros(offset: number): void {
    if (this.#specials > 0) throw malformed('the tar ends after an extended header that belongs to no entry', offset);
    this.#zeroBlocks += 1;
    if (this.#zeroBlocks === 2) this.#ended = true;
  }

  #takeHeader(block: Buffer, offset: number): void {
    if (this.#zeroBlocks > 0) throw malformed('an entry follows a lone zero block', offset);
    this.#entryOffset = offset;
    const header = parseHeader(block, offset);
    if ('xgLK'.includes(header.type)) this.#beginSpecial(header, offset);
    else this.#takeEntry(header, offset);
  }

  #beginSpecial(header: TarHeader, offset: number): void {
    const { size } = header;
    if (size < 0 || size > specialMax) throw malformed(`an extended header is ${size} bytes long`, offset);
    this.#specials += 1;
    this.#specialBytes += size;
    if (this.#specials > specialsMax)
      throw malformed(`more than ${specialsMax} extended headers belong to one entry`, offset);
    if (this.#specialBytes > specialBytesMax) {
      throw malformed(`the extended headers have more than ${specialBytesMax} bytes so far`, offset);
    }
    if (size === 0) {
      this.#takeSpecial(header, Buffer.alloc(0));
      return;
    }
    this.#special = header;
    this.#needed = padded(size);
  }

  #takeSpecial(header: TarHeader, body: Buffer): void {
    const { type } = header;
    if (type === 'L') this.#longName = text(body, 0, body.length);
    else if (type === 'K') this.#longLink = text(body, 0, body.length);
    else {
      const pax = parsePax(body, this.#entryOffset, this.#countRecord);
      if (type === 'x') this.#records = pax;
      else this.#takeGlobal(header, pax);
    }
  }

  /** A global header is an entry of its own to Go, which forgets what came before it; it says nothing of the entries after it. */
  #takeGlobal(header: TarHeader, { values }: PaxRecords): void {
    this.#forgetSpecials();
    this.#entries += 1;
    this.#sink.entry({
      ...header,
      offset: this.#entryOffset,
      name: values.get('path') || header.name,
      size: 0,
      mtimeNsec: 0,
      xattrs: undefined,
      regions: undefined,
      stored: 0,
    });
  }

  #forgetSpecials(): void {
    this.#records = undefined;
    this.#pax = noAttributes;
    this.#longName = this.#longLink = '';
    this.#specials = 0;
  }

  #takeEntry(given: TarHeader, offset: number): void {
    if (this.#records) this.#pax = attributesOf(this.#records);
    const type = this.#typeOf(given);
    const header = type === given.type ? given : { ...given, type };
    const size = this.#pax.size ?? header.size;
    const stored = withoutData.includes(header.type) ? 0 : size;
    if (stored < 0) throw malformed(`the entry states a size of ${stored}`, offset);
    if (stored > Number.MAX_SAFE_INTEGER) throw malformed('the entry states a size that is too large', offset);
    const { sparse } = this.#pax;
    if (header.type === 'S') throw malformed('the entry is a sparse file of the GNU format', offset, sparseAdvice);
    if (sparse && withoutData.includes(header.type))
      throw malformed('something that is not a file is said to be sparse', offset);
    if (sparse && !sparse.regions) {
      this.#map = { map: new RegionMap(offset), header, stored };
      this.#needMap(stored, offset);
    } else this.#begin(header, offset, stored, sparse?.regions);
  }

  /** A file of archivers before 1988 whose name ends in a slash is a folder, and no data follows it then. */
  #typeOf({ type, name }: TarHeader): string {
    if (type !== '\0') return type;
    return this.#nameOf(name).endsWith('/') ? '5' : '0';
  }

  #nameOf(name: string): string {
    return this.#longName || (this.#pax.path ?? name);
  }

  #takeMap({ map, header, stored }: Mapping, block: Buffer): void {
    if (map.push(block)) {
      this.#needMap(stored - map.bytes, this.#entryOffset);
      return;
    }
    this.#map = undefined;
    this.#begin(header, this.#entryOffset, stored - map.bytes, map.regions(), stored);
  }

  #needMap(stored: number, offset: number): void {
    if (stored < blockSize) throw malformed('the map of a sparse file is longer than its data', offset);
  }

  /** @param size what is stored, together with the map that began it */
  #begin(
    header: TarHeader,
    offset: number,
    stored: number,
    regions: readonly Region[] | undefined,
    size = stored,
  ): void {
    const { pax, longLink } = { pax: this.#pax, longLink: this.#longLink };
    const entry: TarEntry = {
      offset,
      type: header.type,
      name: pax.sparse?.name ?? this.#nameOf(header.name),
      link: longLink || (pax.linkpath ?? header.link),
      mode: header.mode,
      uid: pax.uid ?? header.uid,
      gid: pax.gid ?? header.gid,
      mtime: pax.mtime?.sec ?? header.mtime,
      mtimeNsec: pax.mtime?.nsec ?? 0,
      size: pax.sparse?.size ?? size,
      major: header.major,
      minor: header.minor,
      xattrs: pax.xattrs,
      regions,
      stored,
    };
    this.#forgetSpecials();
    this.#entries += 1;
    if (regions) checkRegions(regions, entry.size, stored, offset);
    const wanted = this.#sink.entry(entry);
    const sparse = wanted && regions ? { regions, size: entry.size, next: 0, at: 0 } : undefined;
    const body = { left: stored, padding: padded(size) - size, wanted, sparse };
    if (sparse && stored === 0) this.#sink.hole(entry.size);
    if (wanted && stored === 0) this.#sink.ended();
    if (stored + body.padding > 0) this.#body = body;
  }

  /** @returns the bytes of it that were of use */
  #takeBody(body: Body, chunk: Buffer, at: number): number {
    const content = Math.min(chunk.length - at, body.left);
    if (content > 0) {
      if (body.wanted) this.#handOn(body, chunk.subarray(at, at + content));
      body.left -= content;
      if (body.wanted && body.left === 0) this.#sink.ended();
    }
    const filling = Math.min(chunk.length - at - content, body.padding);
    body.padding -= filling;
    if (body.left + body.padding === 0) this.#body = undefined;
    this.#position += content + filling;
    return content + filling;
  }

  #handOn(body: Body, part: Buffer): void {
    const { sparse } = body;
    if (!sparse) {
      this.#sink.content(part);
      return;
    }
    for (let at = 0; at < part.length;) {
      const region = sparse.regions[sparse.next];
      if (!region) break;
      if (sparse.at < region.offset) {
        this.#sink.hole(region.offset - sparse.at);
        sparse.at = region.offset;
      }
      const taken = Math.min(part.length - at, region.offset + region.length - sparse.at);
      this.#sink.content(part.subarray(at, at + taken));
      sparse.at += taken;
      at += taken;
      if (sparse.at === region.offset + region.length) sparse.next += 1;
    }
    if (part.length === body.left && sparse.at < sparse.size) this.#sink.hole(sparse.size - sparse.at);
  }
}
