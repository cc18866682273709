import { createHash } from 'node:crypto';
import type { BigIntStats } from 'node:fs';
import { lstat, lutimes, readdir, readFile, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '../../src/errors.js';
import { getXattr, listXattrs } from '../../src/host/index.js';

/** What a program inside the tree could tell of one entry. */
export interface Entry {
  readonly type: string;
  /** Octal, with setuid, setgid and sticky. */
  readonly mode: string;
  readonly owner: string;
  /** Seconds since the epoch, to the nanosecond. */
  readonly mtime: string;
  /** Bytes and SHA-256 of a file; target of a link; number of a device. */
  readonly content: string;
  readonly xattrs: Readonly<Record<string, string>>;
  /** The names that share this inode, when there are several. */
  readonly links: readonly string[];
}

/** Every entry of a tree by its path, `/` included, in the order of the paths: two of these compare with `toEqual`. */
export type Tree = Readonly<Record<string, Entry>>;

/** Attributes in which overlay keeps its own notes; a mounted overlay does not show them. */
const overlayNotes = /^(trusted|user)\.overlay\./;

/** @param notes attributes that are left out, as a program that looks through an overlay does not see them */
export async function snapshotOf(root: string, notes = overlayNotes): Promise<Tree> {
  const stats = new Map<string, BigIntStats>();
  await visit(root, '/', (path, stat) => void stats.set(path, stat));
  const names = linkGroups(stats);
  const entries: [string, Entry][] = [];
  for (const path of [...stats.keys()].sort()) {
    const stat = stats.get(path)!;
    entries.push([shown(path), await describe(placeOf(root, path), stat, names.get(inodeOf(stat)) ?? [], notes)]);
  }
  return Object.fromEntries(entries);
}

/** Visits by the bytes of the paths, as latin1: names need not be UTF-8. */
async function visit(
  root: string,
  path: string,
  each: (path: string, stat: BigIntStats) => Promise<void> | void,
): Promise<void> {
  const stat = await lstat(placeOf(root, path), { bigint: true }).catch((error: unknown) => {
    // Overlay lists the whiteouts of a folder that is in one layer alone, and has nothing there.
    if (path !== '/' && errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  });
  if (stat === undefined) return;
  await each(path, stat);
  if (!stat.isDirectory()) return;
  const names = await readdir(placeOf(root, path), { encoding: 'latin1' });
  for (const name of names.sort()) await visit(root, join(path, name), each);
}

function placeOf(root: string, path: string): Buffer {
  return Buffer.concat([Buffer.from(root), Buffer.from(path, 'latin1')]);
}

/** A path, or a name, of bytes as latin1: as UTF-8 where it is that. */
export function shown(path: string): string {
  const bytes = Buffer.from(path, 'latin1');
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) ? text : path;
}

function linkGroups(stats: ReadonlyMap<string, BigIntStats>): ReadonlyMap<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const [path, stat] of stats) {
    if (stat.isDirectory()) continue;
    groups.set(inodeOf(stat), [...(groups.get(inodeOf(stat)) ?? []), shown(path)].sort());
  }
  return new Map([...groups].filter(([, paths]) => paths.length > 1));
}

function inodeOf(stat: BigIntStats): string {
  return `${stat.dev}:${stat.ino}`;
}

async function describe(path: Buffer, stat: BigIntStats, links: readonly string[], notes: RegExp): Promise<Entry> {
  const xattrs = listXattrs(path).filter((name) => !notes.test(name));
  return {
    type: typeOf(stat),
    mode: (stat.mode & 0o7777n).toString(8),
    owner: `${stat.uid}:${stat.gid}`,
    mtime: shownTime(stat.mtimeNs),
    content: await contentOf(path, stat),
    xattrs: Object.fromEntries(xattrs.map((name) => [name, getXattr(path, name)?.toString('hex') ?? 'gone'])),
    links,
  };
}

/** Nanoseconds since the epoch as an {@link Entry} has them. */
export function shownTime(ns: bigint): string {
  return `${ns / 1_000_000_000n}.${String(ns % 1_000_000_000n).padStart(9, '0')}`;
}

function typeOf(stat: BigIntStats): string {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'directory';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isFIFO()) return 'fifo';
  if (stat.isSocket()) return 'socket';
  return stat.isBlockDevice() ? 'block' : 'character';
}

async function contentOf(path: Buffer, stat: BigIntStats): Promise<string> {
  if (stat.isFile()) {
    const sha256 = createHash('sha256')
      .update(await readFile(path))
      .digest('hex');
    return `${stat.size} bytes ${sha256}`;
  }
  if (stat.isSymbolicLink()) return readlink(path, 'latin1');
  return stat.isBlockDevice() || stat.isCharacterDevice() ? `device ${stat.rdev}` : '';
}

/**
 * Gives everything that changed since `sinceMs` a modification time made of its path, so that two trees which went through the
 * same changes at different moments can be compared to the nanosecond, and what did not change still proves its old time.
 */
export async function settleTimes(root: string, sinceMs: number): Promise<void> {
  const since = BigInt(sinceMs) * 1_000_000n;
  await visit(root, '/', async (path, stat) => {
    if (stat.mtimeNs < since) return;
    const hash = createHash('sha256').update(shown(path)).digest();
    const seconds = 1_000_000_000 + (hash.readUInt32LE(0) % 100_000_000) + (hash.readUInt8(4) % 8) / 8;
    await lutimes(placeOf(root, path), seconds, seconds);
  });
}
