import { CodedError } from '../../errors.js';

/*
 * The pax interchange format (POSIX.1-2017, pax(1)), with `SCHILY.xattr.` records for extended attributes as GNU tar, bsdtar
 * and Go write them. Names, targets and values are bytes and stay as they are.
 */

const blockSize = 512;

export type TarType = 'file' | 'hard link' | 'symlink' | 'character device' | 'block device' | 'directory' | 'fifo';

const typeFlags: Readonly<Record<TarType, string>> = {
  file: '0',
  'hard link': '1',
  symlink: '2',
  'character device': '3',
  'block device': '4',
  directory: '5',
  fifo: '6',
};

export interface LayerEntry {
  /** Relative to the root of the layer; `.` is the root itself. */
  readonly path: Buffer;
  readonly type: TarType;
  /** 0 to 0o7777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch; may be negative. */
  readonly mtimeNs: bigint;
  /** Bytes of data that follow. */
  readonly size: number;
  /** Target of a link. */
  readonly link?: Buffer;
  readonly device?: { readonly major: number; readonly minor: number };
  readonly xattrs?: readonly (readonly [name: string, value: Buffer])[];
}

/** What precedes an entry's data: an extended header where the plain one cannot say it, then the plain one. */
export function encodeLayerEntry(entry: LayerEntry): Buffer {
  const records = extendedRecords(entry);
  if (records.length === 0) return plainHeader(entry);
  const body = Buffer.concat(records);
  const extended = { ...pathless, size: body.length };
  return Buffer.concat([plainHeader(extended, 'x'), body, padding(body.length), plainHeader(entry)]);
}

/** Zeros up to the next block after data of that many bytes. */
export function padding(bytes: number): Buffer {
  return Buffer.alloc((blockSize - (bytes % blockSize)) % blockSize);
}

/** An extended header's own fields mean nothing; they are the same always. */
const pathless: LayerEntry = {
  path: Buffer.from('PaxHeaders/entry'),
  type: 'file',
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtimeNs: 0n,
  size: 0,
};

const nameLength = 100;
const nanoseconds = 1_000_000_000n;

/** Those of the entry's attributes that the plain header has no room for, sorted by key. */
function extendedRecords(entry: LayerEntry): Buffer[] {
  const { link, uid, gid, size, mtimeNs } = entry;
  const path = storedPath(entry);
  const records = new Map<string, Buffer | string>();
  if (path.length > nameLength) records.set('path', path);
  if (link && link.length > nameLength) records.set('linkpath', link);
  if (!fitsOctal(uid, 8)) records.set('uid', String(uid));
  if (!fitsOctal(gid, 8)) records.set('gid', String(gid));
  if (!fitsOctal(size, 12)) records.set('size', String(size));
  if (mtimeNs % nanoseconds !== 0n || !fitsOctal(Number(mtimeNs / nanoseconds), 12)) {
    records.set('mtime', decimalSeconds(mtimeNs));
  }
  for (const [name, value] of entry.xattrs ?? []) {
    mustBeKey(name, path);
    records.set(`SCHILY.xattr.${name}`, value);
  }
  const keys = [...records.keys()].sort((left, right) => Buffer.compare(Buffer.from(left), Buffer.from(right)));
  return keys.map((key) => record(key, Buffer.from(records.get(key) ?? '')));
}

/** A record ends its key with `=`, so a name with one in it would be read as a shorter name. */
function mustBeKey(name: string, path: Buffer): void {
  if (!name.includes('=')) return;
  const message = `${JSON.stringify(path.toString())} has an extended attribute named ${JSON.stringify(name)}`;
  throw new CodedError('failed-precondition', `${message}, and no layer can hold a name with "=" in it`, {
    facts: { path: path.toString(), attribute: name },
    next: 'remove that attribute in the container',
  });
}

/** `<length> <key>=<value>\n`; the length counts its own digits. */
function record(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** Seconds with as many decimals as needed; the sign stands for both parts. */
function decimalSeconds(ns: bigint): string {
  const positive = ns < 0n ? -ns : ns;
  const fraction = String(positive % nanoseconds)
    .padStart(9, '0')
    .replace(/0+$/, '');
  return `${ns < 0n ? '-' : ''}${positive / nanoseconds}${fraction === '' ? '' : `.${fraction}`}`;
}

/** Directories end with a slash, as every archiver writes them. */
function storedPath({ path, type }: LayerEntry): Buffer {
  return type === 'directory' ? Buffer.concat([path, Buffer.from('/')]) : path;
}

function plainHeader(entry: LayerEntry, typeFlag = typeFlags[entry.type]): Buffer {
  const header = Buffer.alloc(blockSize);
  storedPath(entry).copy(header, 0, 0, nameLength);
  octal(header, 100, 8, entry.mode);
  octal(header, 108, 8, entry.uid);
  octal(header, 116, 8, entry.gid);
  octal(header, 124, 12, entry.size);
  octal(header, 136, 12, Number(entry.mtimeNs / nanoseconds));
  header.write(typeFlag, 156, 'latin1');
  entry.link?.copy(header, 157, 0, nameLength);
  header.write('ustar\u000000', 257, 'latin1');
  octal(header, 329, 8, entry.device?.major ?? 0);
  octal(header, 337, 8, entry.device?.minor ?? 0);
  // The checksum counts its own eight bytes as spaces.
  header.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of header) sum += byte;
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return header;
}

function fitsOctal(value: number, fieldLength: number): boolean {
  return value >= 0 && value < 8 ** (fieldLength - 1);
}

/** Zero where the value does not fit: the extended header then says it. */
function octal(header: Buffer, offset: number, length: number, value: number): void {
  const digits = (fitsOctal(value, length) ? value : 0).toString(8);
  header.write(`${digits.padStart(length - 1, '0')}\0`, offset, 'latin1');
}
