/** What an entry of a tree is, in the numbers that EROFS gives them (`EROFS_FT_*`, Linux 6.18). */
export const entryTypes = {
  file: 1,
  directory: 2,
  'character device': 3,
  'block device': 4,
  fifo: 5,
  socket: 6,
  symlink: 7,
} as const;

export type EntryType = (typeof entryTypes)[keyof typeof entryTypes];

/** A path hashed so far: four words of 32 bits, which hashing what follows goes on from. */
export type PathHash = readonly [number, number, number, number];

/** Odd numbers with bits all over (the fractions of square roots of primes), one for each word. */
const factors = [0x6a09e667, 0xbb67ae85, 0x3c6ef373, 0xa54ff53b] as const;

/**
 * Adds entries up so that two sides can tell, in whatever order they met them, whether they met the same: 128 bits over path, type
 * and size of each. Words are sums modulo 2^32, so an entry that is replaced can be taken out again.
 *
 * With a seed that the author of a layer cannot know, no layer can be made whose difference goes unseen.
 */
export class EntrySum {
  readonly #words = new Int32Array(4);
  readonly #start: PathHash;
  #count = 0;

  /** @param seed 32 bits; both sides need the same */
  constructor(seed = 0) {
    this.#start = factors.map((factor, index) => mixed(seed ^ factor) + index) as unknown as PathHash;
  }

  /** The hash of the root's path, which is empty. */
  get root(): PathHash {
    return this.#start;
  }

  /**
   * @param path a byte string (latin1) without a slash at either end; empty for the root
   * @param size bytes of a file or of a symlink's target; 1 of a character device that is no whiteout (0/0); else 0
   */
  add(path: string, type: EntryType, size: number): void {
    this.addHashed(hashOn(this.#start, path), type, size);
  }

  /** Takes an entry out that was added as this. */
  remove(path: string, type: EntryType, size: number): void {
    this.#fold(hashOn(this.#start, path), type, size, -1);
  }

  /** As `add`, for a path that was hashed with `hashOn` from `root`. */
  addHashed(path: PathHash, type: EntryType, size: number): void {
    this.#fold(path, type, size, 1);
  }

  /** How many entries, and their sum: equal for equal sets of entries. */
  get value(): string {
    const words = [...this.#words].map((word) => (word >>> 0).toString(16).padStart(8, '0'));
    return `${this.#count}:${words.join('')}`;
  }

  get count(): number {
    return this.#count;
  }

  #fold(path: PathHash, type: EntryType, size: number, sign: 1 | -1): void {
    const low = size | 0;
    const high = (Math.floor(size / 2 ** 32) << 3) ^ type;
    let carried = 0;
    for (let index = 0; index < 4; index += 1) {
      const factor = factors[index] as number;
      carried = mixed(Math.imul((path[index] as number) ^ low, factor) + Math.imul(high ^ carried, factor | 5));
      this.#words[index] = (this.#words[index] as number) + sign * carried;
    }
    this.#count += sign;
  }
}

/** The hash of a path and more characters after it; `hashOn(hashOn(h, 'a'), '/b')` is `hashOn(h, 'a/b')`. */
export function hashOn([first, second, third, fourth]: PathHash, more: string): PathHash {
  const [one, two, three, four] = factors;
  for (let index = 0; index < more.length; index += 1) {
    const byte = more.charCodeAt(index);
    first = Math.imul(((first << 5) | (first >>> 27)) ^ byte, one);
    second = Math.imul(((second << 7) | (second >>> 25)) ^ byte, two);
    third = Math.imul(((third << 11) | (third >>> 21)) ^ byte, three);
    fourth = Math.imul(((fourth << 13) | (fourth >>> 19)) ^ byte, four);
  }
  return [first, second, third, fourth];
}

/** Spreads every bit over all 32 (shifts and factors of a finalizer, as MurmurHash3 has one). */
function mixed(word: number): number {
  word = Math.imul(word ^ (word >>> 16), 0x85ebca6b);
  word = Math.imul(word ^ (word >>> 13), 0xc2b2ae35);
  return word ^ (word >>> 16);
}
