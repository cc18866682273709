import { blockSize, checksumOf, padded } from './block.js';
import type { Xattrs } from './xattrs.js';

/*
 * The one form in which mkfs.erofs gets entries, whatever form they came in: one pax header (POSIX.1-2017, pax(1)) with all that a ustar
 * header cannot say, then one ustar header. A number is in the ustar header or, where it does not fit, in the pax header alone.
 */

/** What any file has. */
export interface Attributes {
  /** Permission bits. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Seconds since the epoch, and nanoseconds beyond them. */
  readonly mtime: number;
  readonly mtimeNsec: number;
}

export interface CanonicalEntry {
  /** Without slashes at either end; `.` is the root. */
  readonly path: string;
  /** As in `TarEntry`, except that there are no global headers. */
  readonly type: string;
  readonly attributes: Attributes;
  /** Bytes of content that follow. */
  readonly size?: number;
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly xattrs?: Xattrs;
  /** Of a hard link: the file that it names, whose own size is not in the header. */
  readonly linked?: { readonly type: string; readonly size: number; readonly target: string };
  /** The path was handed on before: this changes a folder's attributes. */
  readonly again?: boolean;
}

export const endOfArchive = Buffer.alloc(2 * blockSize);

const nameSize = 100;
const idFieldMax = 0o7777777;
const longFieldMax = 0o77777777777;
const zeros: Attributes = { mode: 0, uid: 0, gid: 0, mtime: 0, mtimeNsec: 0 };

/**
 * All that precedes an entry's content.
 *
 * @param block is used for it when it is enough
 */
export function encodeEntry(entry: CanonicalEntry, block = Buffer.alloc(blockSize)): Buffer {
  if (fitsHeader(entry)) return header(block.fill(0), entry);
  const records = recordsOf(entry);
  const bytes = records.reduce((sum, { length }) => sum + length, 0);
  const blocks = Buffer.alloc(2 * blockSize + padded(bytes));
  header(blocks.subarray(0, blockSize), { path: 'pax', type: 'x', attributes: zeros, size: bytes });
  let at = blockSize;
  for (const record of records) at += record.copy(blocks, at);
  header(blocks.subarray(blockSize + padded(bytes)), entry);
  return blocks;
}

function fitsHeader({ path, link = '', size = 0, attributes, xattrs }: CanonicalEntry): boolean {
  const { uid, gid, mtime, mtimeNsec } = attributes;
  return (
    path.length <= nameSize &&
    link.length <= nameSize &&
    uid <= idFieldMax &&
    gid <= idFieldMax &&
    size <= longFieldMax &&
    mtimeNsec === 0 &&
    mtime >= 0 &&
    mtime <= longFieldMax &&
    !xattrs?.size
  );
}

function recordsOf({ path, link = '', size = 0, attributes, xattrs }: CanonicalEntry): Buffer[] {
  const { uid, gid, mtime, mtimeNsec } = attributes;
  const records: Buffer[] = [];
  const add = (key: string, value: string) => records.push(record(key, Buffer.from(value, 'latin1')));
  if (path.length > nameSize) add('path', path);
  if (link.length > nameSize) add('linkpath', link);
  if (uid > idFieldMax) add('uid', String(uid));
  if (gid > idFieldMax) add('gid', String(gid));
  if (size > longFieldMax) add('size', String(size));
  if (mtimeNsec !== 0 || mtime < 0 || mtime > longFieldMax) add('mtime', seconds(mtime, mtimeNsec));
  for (const name of [...(xattrs?.keys() ?? [])].sort()) {
    records.push(record(`SCHILY.xattr.${name}`, xattrs?.get(name) ?? Buffer.alloc(0)));
  }
  return records;
}

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
function record(key: string, value: Buffer): Buffer {
  const rest = key.length + value.length + 3;
  let length = rest + String(rest).length;
  length = rest + String(length).length;
  const bytes = Buffer.allocUnsafe(length);
  const at = bytes.write(`${length} ${key}=`, 'latin1');
  value.copy(bytes, at);
  bytes[length - 1] = 0x0a;
  return bytes;
}

/** The sign stands for both parts. */
function seconds(sec: number, nsec: number): string {
  const isNegative = sec < 0;
  const whole = isNegative && nsec > 0 ? -(sec + 1) : Math.abs(sec);
  const part = isNegative && nsec > 0 ? 1_000_000_000 - nsec : nsec;
  const fraction = part === 0 ? '' : `.${String(part).padStart(9, '0')}`;
  return `${isNegative ? '-' : ''}${whole}${fraction}`;
}

/** @param block 512 zeros, which it fills */
function header(block: Buffer, entry: CanonicalEntry): Buffer {
  const { path, type, link = '', attributes, size = 0, major = 0, minor = 0 } = entry;
  if (path.length <= nameSize) block.write(path, 0, 'latin1');
  octal(block, 100, 7, attributes.mode);
  octal(block, 108, 7, attributes.uid > idFieldMax ? 0 : attributes.uid);
  octal(block, 116, 7, attributes.gid > idFieldMax ? 0 : attributes.gid);
  octal(block, 124, 11, size > longFieldMax ? 0 : size);
  octal(block, 136, 11, attributes.mtime < 0 || attributes.mtime > longFieldMax ? 0 : attributes.mtime);
  block.write(type, 156, 'latin1');
  if (link.length <= nameSize) block.write(link, 157, 'latin1');
  block.write('ustar\x0000', 257, 'latin1');
  octal(block, 329, 7, major);
  octal(block, 337, 7, minor);
  octal(block, 148, 6, checksumOf(block));
  block[155] = 0x20;
  return block;
}

function octal(block: Buffer, start: number, digits: number, value: number): void {
  let at = start + digits - 1;
  let rest = value;
  for (; rest > 0x7fffffff; at--) {
    block[at] = 0x30 + (rest % 8);
    rest = Math.floor(rest / 8);
  }
  for (; at >= start; at--) {
    block[at] = 0x30 + (rest & 7);
    rest >>= 3;
  }
}
