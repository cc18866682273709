import { malformed, shown } from './tar-header.js';

/** What an extended header says about the entry after it, as far as the check needs it. Byte strings are latin1. */
export interface PaxAttributes {
  readonly path?: string;
  readonly linkpath?: string;
  readonly size?: number;
}

const xattrPrefixes = ['SCHILY.xattr.', 'LIBARCHIVE.xattr.'];
/** Linux's limit for the name of an extended attribute. */
const xattrNameMax = 255;
/** EROFS stores the length of a value in 16 bits. */
const xattrValueMax = 65_535;
/** EROFS counts an inode's attributes in units of four bytes, in 16 bits; the first twelve bytes are a header. */
const xattrTotalMax = 4 * 65_535 - 12;
/** The largest user or group id; the one above it means "no id". */
const idMax = 2 ** 32 - 2;

/**
 * Reads the records of an extended header and refuses what mkfs.erofs would turn into a damaged or different file.
 *
 * @throws SnapshotterError `invalid-argument`
 */
export function parsePax(body: Buffer, offset: number): PaxAttributes {
  const attributes: { path?: string; linkpath?: string; size?: number } = {};
  let xattrBytes = 0;
  for (const [key, value] of paxRecords(body, offset)) {
    refuseSparse(key, offset);
    if ((key === 'path' || key === 'linkpath') && value !== '') {
      if (value.includes('\0')) throw malformed(`the ${key} ${shown(value)} holds a zero byte`, offset);
      attributes[key] = value;
    } else if (key === 'size') attributes.size = wholeNumber(key, value, Number.MAX_SAFE_INTEGER, offset);
    else if (key === 'uid' || key === 'gid') wholeNumber(key, value, idMax, offset);
    else if (key === 'mtime' && !/^-?[0-9]{1,18}(\.[0-9]*)?$/.test(value)) {
      throw malformed(`the mtime ${shown(value)} is not a number of seconds`, offset);
    }
    xattrBytes += xattrSize(key, value, offset);
  }
  if (xattrBytes > xattrTotalMax) {
    throw malformed(
      `the entry has ${xattrBytes} bytes of extended attributes, and EROFS holds ${xattrTotalMax}`,
      offset,
    );
  }
  return attributes;
}

/**
 * A global header may only comment: containerd ignores it, and mkfs.erofs would give every entry after it the same path or size.
 */
export function checkGlobalPax(body: Buffer, offset: number): void {
  for (const [key] of paxRecords(body, offset)) {
    const means = ['path', 'linkpath', 'size', 'uid', 'gid', 'mtime', 'atime', 'ctime'].includes(key);
    if (means || key.startsWith('GNU.sparse.') || xattrPrefixes.some((prefix) => key.startsWith(prefix))) {
      throw malformed(`a global header sets ${shown(key)} for every entry after it`, offset);
    }
  }
}

/** `<length> <key>=<value>\n`, where the length counts the whole record. */
function* paxRecords(body: Buffer, offset: number): Generator<readonly [key: string, value: string]> {
  for (let at = 0; at < body.length;) {
    const space = body.indexOf(0x20, at);
    const digits = space === -1 ? '' : body.toString('latin1', at, space);
    const length = /^[0-9]{1,9}$/.test(digits) ? Number(digits) : 0;
    const record = body.toString('latin1', space + 1, at + length);
    const equals = record.indexOf('=');
    if (equals < 1 || at + length > body.length || !record.endsWith('\n')) {
      throw malformed(`record ${at} bytes into an extended header is not "<length> <key>=<value>"`, offset);
    }
    yield [record.slice(0, equals), record.slice(equals + 1, -1)];
    at += length;
  }
}

function refuseSparse(key: string, offset: number): void {
  if (!key.startsWith('GNU.sparse.')) return;
  // mkfs.erofs would store the list of regions as if it were the file's content.
  throw malformed('the entry is a sparse file', offset, 'write the layer without --sparse');
}

function wholeNumber(key: string, value: string, max: number, offset: number): number {
  const number = /^[0-9]{1,16}$/.test(value) ? Number(value) : Infinity;
  if (number <= max) return number;
  throw malformed(`the ${key} ${shown(value)} is not a whole number from 0 to ${max}`, offset);
}

/** Bytes that the attribute takes in the image: a header of four bytes, name and value, rounded up to four. */
function xattrSize(key: string, value: string, offset: number): number {
  const prefix = xattrPrefixes.find((candidate) => key.startsWith(candidate));
  if (prefix === undefined) return 0;
  const name = key.slice(prefix.length);
  if (name === '' || name.length > xattrNameMax) {
    throw malformed(`the name of extended attribute ${shown(name)} is not 1 to ${xattrNameMax} bytes long`, offset);
  }
  if (value.length > xattrValueMax) {
    throw malformed(
      `extended attribute ${shown(name)} is ${value.length} bytes long, and EROFS holds ${xattrValueMax}`,
      offset,
    );
  }
  return Math.ceil((4 + name.length + value.length) / 4) * 4;
}
