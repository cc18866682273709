import { malformed, shown } from './block.js';
import { decimal } from './numbers.js';
import { regionsOfPairs, type Region } from './sparse.js';

/** A file that is stored without its holes (GNU tar's `--sparse` in pax archives). */
export interface PaxSparse {
  readonly name?: string;
  /** Bytes of the whole file. */
  readonly size?: number;
  /** Undefined when the file's data begins with them (format 1.0). */
  readonly regions: readonly Region[] | undefined;
}

/** What an extended header says about the entry after it. Names are byte strings. */
export interface PaxAttributes {
  readonly path?: string;
  readonly linkpath?: string;
  readonly size?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly mtime?: PaxTime;
  /** `SCHILY.xattr.*`, by name. `LIBARCHIVE.xattr.*` means nothing to containerd. */
  readonly xattrs?: ReadonlyMap<string, Buffer>;
  readonly sparse?: PaxSparse;
}

export interface PaxTime {
  readonly sec: number;
  readonly nsec: number;
}

const xattrPrefix = 'SCHILY.xattr.';
const sparsePrefix = 'GNU.sparse.';

/** The records of one extended header, by key, before anything is made of their values. */
export interface PaxRecords {
  /** Of the extended header in the tar. */
  readonly offset: number;
  readonly values: ReadonlyMap<string, string>;
  readonly xattrs: ReadonlyMap<string, Buffer>;
}

/**
 * Reads an extended header as Go's archive/tar does: of one key the last record counts. Values stay unread, since those of a header that
 * another one replaces, and of a global one, count for nothing.
 *
 * @param onRecord called for each record, so that its caller can bound them
 * @throws CodedError `invalid-argument`
 */
export function parsePax(body: Buffer, offset: number, onRecord: () => void): PaxRecords {
  const values = new Map<string, string>();
  const xattrs = new Map<string, Buffer>();
  const pairs: string[] = [];
  forEachRecord(body, offset, (key, value) => {
    onRecord();
    if (key.startsWith(xattrPrefix)) {
      xattrs.set(key.slice(xattrPrefix.length), Buffer.from(value));
    } else if (key === 'GNU.sparse.offset' || key === 'GNU.sparse.numbytes') {
      const isOffset = key === 'GNU.sparse.offset';
      if (isOffset !== (pairs.length % 2 === 0) || value.includes(0x2c)) {
        throw malformed('the regions of a sparse file are not pairs of an offset and a length', offset);
      }
      pairs.push(value.toString('latin1'));
    } else if (known.has(key) || key.startsWith(sparsePrefix)) {
      values.set(key, value.toString('latin1'));
    }
  });
  if (pairs.length > 0) values.set('GNU.sparse.map', pairs.join(','));
  for (const name of names) {
    const value = values.get(name);
    if (value?.includes('\0')) throw malformed(`the ${name} ${shown(value)} holds a zero byte`, offset);
  }
  return { offset, values, xattrs };
}

const names = ['path', 'linkpath', 'uname', 'gname'];
const known = new Set([...names, 'size', 'uid', 'gid', 'mtime', 'atime', 'ctime']);

/**
 * What the records say of the entry. An empty value takes its key back, except for an extended attribute, which may be empty.
 *
 * @throws CodedError `invalid-argument`
 */
export function attributesOf({ values, xattrs, offset }: PaxRecords): PaxAttributes {
  // What is stated must be a number, also where it means nothing here.
  for (const key of ['atime', 'ctime']) time(values, key, offset);
  const attributes: { -readonly [Key in keyof PaxAttributes]: PaxAttributes[Key] } = {};
  const path = values.get('path');
  const linkpath = values.get('linkpath');
  const [size, uid, gid] = [whole(values, 'size', offset), whole(values, 'uid', offset), whole(values, 'gid', offset)];
  const mtime = time(values, 'mtime', offset);
  const sparse = sparseOf(values, offset);
  if (path) attributes.path = path;
  if (linkpath) attributes.linkpath = linkpath;
  if (size !== undefined) attributes.size = size;
  if (uid !== undefined) attributes.uid = uid;
  if (gid !== undefined) attributes.gid = gid;
  if (mtime) attributes.mtime = mtime;
  if (xattrs.size > 0) attributes.xattrs = xattrs;
  if (sparse) attributes.sparse = sparse;
  return attributes;
}

/** `<length> <key>=<value>\n`, where the length counts the whole record. */
function forEachRecord(body: Buffer, offset: number, take: (key: string, value: Buffer) => void): void {
  for (let at = 0; at < body.length;) {
    const space = body.indexOf(0x20, at);
    const length = space === -1 ? undefined : decimal(body.toString('latin1', at, space));
    const end = at + (length ?? 0);
    const isRecord = length !== undefined && length >= 5 && end <= body.length && end > space + 1;
    const equals = isRecord && body[end - 1] === 0x0a ? body.indexOf(0x3d, space + 1) : -1;
    const key = equals !== -1 && equals < end - 1 ? body.toString('latin1', space + 1, equals) : '';
    if (key === '' || key.includes('\0')) {
      throw malformed(`record ${at} bytes into an extended header is not "<length> <key>=<value>"`, offset);
    }
    take(key, body.subarray(equals + 1, end - 1));
    at = end;
  }
}

function whole(values: ReadonlyMap<string, string>, key: string, offset: number): number | undefined {
  const value = values.get(key);
  if (value === undefined || value === '') return undefined;
  const number = decimal(value);
  if (number === undefined) throw malformed(`the ${key} ${shown(value)} is not a whole number`, offset);
  return number;
}

function time(values: ReadonlyMap<string, string>, key: string, offset: number): PaxTime | undefined {
  const value = values.get(key);
  if (value === undefined || value === '') return undefined;
  const [, digits, fraction = ''] = /^([^.]*)(?:\.([0-9]*))?$/.exec(value) ?? [];
  const sec = digits === undefined ? undefined : decimal(digits);
  if (sec === undefined) throw malformed(`the ${key} ${shown(value)} is not a number of seconds`, offset);
  const nsec = Number(fraction.padEnd(9, '0').slice(0, 9));
  if (nsec === 0 || !value.startsWith('-')) return { sec, nsec };
  return { sec: sec - 1, nsec: 1_000_000_000 - nsec };
}

/** Formats 0.0, 0.1 and 1.0, told apart as Go does; what is of another is no sparse file to it. */
function sparseOf(values: ReadonlyMap<string, string>, offset: number): PaxSparse | undefined {
  const value = (key: string) => values.get(sparsePrefix + key) ?? '';
  const version = `${value('major')}.${value('minor')}`;
  const map = value('map');
  const inData = version === '1.0';
  if (!inData && version !== '0.0' && version !== '0.1' && (version !== '.' || map === '')) return undefined;
  const size = whole(values, sparsePrefix + (value('size') === '' ? 'realsize' : 'size'), offset);
  const name = value('name');
  if (name.includes('\0')) throw malformed(`the path ${shown(name)} holds a zero byte`, offset);
  const regions = inData ? undefined : regionsOfPairs(value('numblocks'), map === '' ? [] : map.split(','), offset);
  return { regions, ...(name === '' ? {} : { name }), size };
}
