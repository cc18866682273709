import { blockSize, malformed } from './block.js';
import { decimal } from './numbers.js';

/** A stretch of a sparse file that is stored; what lies between is zeros. In bytes. */
export interface Region {
  readonly offset: number;
  readonly length: number;
}

/** Bytes of a map of regions, as Go's archive/tar allows. */
const mapMax = 1024 * 1024;

/** @param count how many pairs of an offset and a length there are said to be */
export function regionsOfPairs(count: string, numbers: readonly string[], offset: number): readonly Region[] {
  const stated = decimal(count);
  if (stated === undefined || numbers.length !== 2 * stated) {
    throw malformed('the regions of a sparse file are not as many as it says', offset);
  }
  const regions: Region[] = [];
  for (let index = 0; index < numbers.length; index += 2) {
    const [start, length] = [decimal(numbers[index] ?? ''), decimal(numbers[index + 1] ?? '')];
    if (start === undefined || length === undefined) {
      throw malformed('a region of a sparse file is not two whole numbers', offset);
    }
    regions.push({ offset: start, length });
  }
  return regions;
}

/** @throws CodedError `invalid-argument` unless the regions lie in a file of that size, in order, and make up what is stored */
export function checkRegions(regions: readonly Region[], size: number, stored: number, offset: number): void {
  let end = 0;
  let sum = 0;
  for (const region of regions) {
    const next = region.offset + region.length;
    if (region.offset < end || region.length < 0 || next > size || !Number.isSafeInteger(next)) {
      throw malformed('the regions of a sparse file overlap or lie beyond its end', offset);
    }
    end = next;
    sum += region.length;
  }
  if (size >= 0 && sum === stored) return;
  throw malformed(`the regions of a sparse file have ${sum} bytes, and ${stored} are stored`, offset);
}

/** The map that begins a sparse file's data in format 1.0: decimal numbers, each on a line, filled up to whole blocks. */
export class RegionMap {
  readonly #offset: number;
  readonly #blocks: Buffer[] = [];
  #lines = 0;
  /** How many lines there will be. */
  #wanted = 1;

  constructor(offset: number) {
    this.#offset = offset;
  }

  get bytes(): number {
    return this.#blocks.length * blockSize;
  }

  /** Takes the next block. @returns whether more are wanted */
  push(block: Buffer): boolean {
    this.#blocks.push(Buffer.from(block));
    if (this.bytes > mapMax) throw malformed(`the map of a sparse file is longer than ${mapMax} bytes`, this.#offset);
    const before = this.#lines;
    for (const byte of block) if (byte === 0x0a) this.#lines += 1;
    if (before === 0 && this.#lines > 0) this.#wanted = 1 + 2 * this.#count();
    return this.#lines < this.#wanted;
  }

  regions(): readonly Region[] {
    const lines = Buffer.concat(this.#blocks).toString('latin1').split('\n', this.#wanted);
    return regionsOfPairs(lines[0] ?? '', lines.slice(1), this.#offset);
  }

  #count(): number {
    const first = Buffer.concat(this.#blocks).toString('latin1');
    const count = decimal(first.slice(0, first.indexOf('\n')));
    if (count !== undefined && count >= 0 && count <= mapMax) return count;
    throw malformed('the map of a sparse file does not begin with a number of regions', this.#offset);
  }
}
