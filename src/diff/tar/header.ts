import { hasRightChecksum, malformed, shown, text } from './block.js';
import { integer } from './numbers.js';

/** What one header block says, by the meaning of Go's archive/tar. Names are byte strings (latin1): a tar does not say how they are encoded. */
export interface TarHeader {
  /** One character: `0` file, `1` hard link, `2` symlink, `3` character device, `4` block device, `5` folder, `6` fifo, `g` global header. */
  readonly type: string;
  readonly name: string;
  readonly link: string;
  /** Permission bits alone. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Bytes; may be negative. */
  readonly size: number;
  /** Seconds since the epoch. */
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

/**
 * Formats are told by their magic, as Go does: `ustar` with the trailer `tar` is star, `ustar` with spaces GNU's; whatever else is
 * taken for the format of 1979, which has neither devices nor a prefix.
 *
 * @throws CodedError `invalid-argument` with the offset, for a wrong checksum and for what is no number
 */
export function parseHeader(block: Buffer, offset: number): TarHeader {
  if (!hasRightChecksum(block)) throw malformed('the header has a wrong checksum', offset);
  const number = (what: string, start: number, length: number) => field(block, what, start, length, offset);
  const { prefix, major, minor } = extension(block, number);
  const name = text(block, 0, 100);
  return {
    type: block.toString('latin1', 156, 157),
    name: prefix === '' ? name : `${prefix}/${name}`,
    link: text(block, 157, 100),
    mode: lowBits(number('mode', 100, 8)),
    uid: Number(number('owner', 108, 8)),
    gid: Number(number('group', 116, 8)),
    size: Number(number('size', 124, 12)),
    mtime: Number(number('time', 136, 12)),
    major,
    minor,
  };
}

type ReadNumber = (what: string, start: number, length: number) => number | bigint;

function extension(block: Buffer, number: ReadNumber): Pick<TarHeader, 'major' | 'minor'> & { prefix: string } {
  const magic = block.toString('latin1', 257, 265);
  const isGnu = magic === 'ustar  \0';
  if (!isGnu && !magic.startsWith('ustar\0')) return { prefix: '', major: 0, minor: 0 };
  const major = Number(number('device number', 329, 8));
  const minor = Number(number('device number', 337, 8));
  if (isGnu) return { prefix: gnuPrefix(block), major, minor };
  if (block.toString('latin1', 508, 512) !== 'tar\0') return { prefix: text(block, 345, 155), major, minor };
  number('access time', 476, 12);
  number('change time', 488, 12);
  return { prefix: text(block, 345, 131), major, minor };
}

/** GNU tar keeps two times where ustar has a name's beginning; old versions of Go wrote a name there all the same. */
function gnuPrefix(block: Buffer): string {
  const isTime = (start: number) => block[start] === 0 || integer(block, start, 12) !== undefined;
  if (isTime(345) && isTime(357)) return '';
  const prefix = text(block, 345, 155);
  return Buffer.from(prefix, 'latin1').every((byte) => byte < 0x80) ? prefix : '';
}

function field(block: Buffer, what: string, start: number, length: number, offset: number): number | bigint {
  const value = integer(block, start, length);
  if (value !== undefined) return value;
  const bytes = block.toString('latin1', start, start + length);
  throw malformed(`the entry's ${what} ${shown(bytes)} is not an octal number`, offset);
}

function lowBits(mode: number | bigint): number {
  return typeof mode === 'bigint' ? Number(BigInt.asUintN(12, mode)) : mode % 0o10000;
}
