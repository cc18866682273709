import { archive, entry, gnuLong, type Header, magics, pax, type PaxRecords } from './tar-bytes.js';

/** Seconds since the epoch and nanoseconds of them. */
export interface Time {
  readonly s: number;
  readonly ns: number;
}

/** What every entry of a layer says of itself. Names and values are bytes as latin1. */
interface Attributes {
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly time: Time;
  readonly xattrs: Readonly<Record<string, string>>;
}

/** An entry of a layer by its meaning. `path` has neither a slash at its beginning nor one at its end; the root is ''. */
export type Item = { readonly path: string } & (
  | ({ readonly kind: 'file'; readonly data: string } & Attributes)
  | ({ readonly kind: 'folder' | 'fifo' } & Attributes)
  | ({ readonly kind: 'symlink' | 'link'; readonly target: string } & Attributes)
  | ({ readonly kind: 'char' | 'block'; readonly device: readonly [number, number] } & Attributes)
  /** `path` is what it hides. */
  | { readonly kind: 'whiteout' }
  /** `path` is the folder that it hides the older content of. */
  | { readonly kind: 'opaque' }
);

/** How long names, fractions of a second and the like are written. */
export type Style = 'pax' | 'gnu';

const types = { file: '0', link: '1', symlink: '2', char: '3', block: '4', folder: '5', fifo: '6' } as const;

export function layerOf(items: readonly Item[], style: Style = 'pax'): Buffer {
  return archive(...items.map((item) => write(item, style)));
}

function write(item: Item, style: Style): Buffer {
  if (item.kind === 'opaque') return named(join(item.path, '.wh..wh..opq'), { name: '', mode: 0 }, style);
  if (item.kind === 'whiteout') {
    const slash = item.path.lastIndexOf('/') + 1;
    return named(`${item.path.slice(0, slash)}.wh.${item.path.slice(slash)}`, { name: '', mode: 0 }, style);
  }
  const { kind, mode, uid, gid, time, xattrs } = item;
  const name = kind === 'folder' ? (item.path === '' ? './' : `${item.path}/`) : item.path;
  const records: (readonly [string, string])[] = Object.entries(xattrs).map(([key, value]) => [
    `SCHILY.xattr.${key}`,
    value,
  ]);
  if (time.ns !== 0) records.push(['mtime', decimal(time)]);
  const base: Header = {
    name: '',
    type: types[kind],
    mode,
    uid,
    gid,
    mtime: time.s,
    ...('device' in item ? { major: item.device[0], minor: item.device[1] } : {}),
  };
  return named(name, base, style, records, 'data' in item ? item.data : '', 'target' in item ? item.target : '');
}

/** POSIX: a negative time has its sign before the whole, fraction included. */
function decimal({ s, ns }: Time): string {
  const all = BigInt(s) * 1_000_000_000n + BigInt(ns);
  const abs = all < 0n ? -all : all;
  return `${all < 0n ? '-' : ''}${abs / 1_000_000_000n}.${String(abs % 1_000_000_000n).padStart(9, '0')}`;
}

function named(name: string, base: Header, style: Style, records: PaxRecords = [], data = '', link = ''): Buffer {
  const parts: Buffer[] = [];
  const long: (readonly [string, string])[] = [];
  // PAX values are UTF-8 by POSIX; other bytes are left to GNU's format.
  const gnu = style === 'gnu' || !isText(name) || !isText(link);
  if (name.length > 100 && gnu) parts.push(gnuLong('L', name));
  else if (name.length > 100) long.push(['path', name]);
  if (link.length > 100 && gnu) parts.push(gnuLong('K', link));
  else if (link.length > 100) long.push(['linkpath', link]);
  if (records.length + long.length > 0) parts.unshift(pax([...long, ...records]));
  // Go takes a header for GNU's by its magic, and then ignores a PAX header before it only where it says so itself.
  const magic = gnu && records.length === 0 ? magics.gnu : magics.ustar;
  return Buffer.concat([...parts, entry({ ...base, name, link, magic }, data)]);
}

function isText(text: string): boolean {
  return Buffer.from(Buffer.from(text, 'latin1').toString('utf8'), 'utf8').toString('latin1') === text;
}

export function join(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}
