import type { BigIntStats } from 'node:fs';
import { constants } from 'node:fs';
import { lstat, open, readdir, readlink, type FileHandle } from 'node:fs/promises';
import { getXattr, listXattrs } from '../../host/index.js';
import type { ComparedTree, OverlayNotes } from '../../layers/index.js';

/** Names as bytes: a guest's need not be UTF-8. */
export type Path = Buffer;

const slash = Buffer.from('/');

export function joined(folder: Path, name: Path): Path {
  if (folder.length === 0) return name;
  return name.length === 0 ? folder : Buffer.concat([folder, slash, name]);
}

/** A file, folder or anything else of a tree that is compared, with what lstat says of it. */
export interface ComparedNode {
  /** Where it is on this host. */
  readonly place: Path;
  readonly stat: BigIntStats;
}

export async function nodeAt(place: Path): Promise<ComparedNode> {
  return { place, stat: await lstat(place, { bigint: true }) };
}

/** Entries that are looked at together: they share round trips to the disk. */
const atOnce = 64;

/** What is in a folder, in the order of the names' bytes. */
export async function* childrenOf(folder: Path): AsyncGenerator<readonly [name: Path, child: ComparedNode]> {
  const names = (await readdir(folder, { encoding: 'buffer' })).sort((left, right) => Buffer.compare(left, right));
  for (let at = 0; at < names.length; at += atOnce) {
    const some = names.slice(at, at + atOnce);
    const children = await Promise.all(some.map((name) => nodeAt(joined(folder, name))));
    for (const [index, child] of children.entries()) yield [some[index] ?? slash, child];
  }
}

export type Xattr = readonly [name: string, value: Buffer];

/** Every file has it on a host with SELinux, and it is that host's: a layer never carries it. */
const hostLabel = 'security.selinux';

/** How a tree shows its attributes: as an overlay stores them, with notes of one kind, or through the kernel's overlay. */
export type SeenAs = OverlayNotes | 'overlay';

export function seenAs({ throughOverlay }: ComparedTree): SeenAs {
  return throughOverlay ? 'overlay' : 'trusted';
}

/** The extended attributes that belong to a layer, sorted by name: all but overlay's own notes and the host's label. */
export function layerXattrs({ place }: ComparedNode, seen: SeenAs): readonly Xattr[] {
  return listXattrs(place).flatMap((name) => {
    const stored = storedName(name, seen);
    const value = stored === undefined ? undefined : getXattr(place, name);
    return stored === undefined || value === undefined ? [] : [[stored, value] as const];
  });
}

/**
 * The name in a layer, which is stored as an ordinary overlay stores it: notes of an overlay inside it have one more `overlay.`
 * (Linux 6.7 and later).
 */
function storedName(name: string, seen: SeenAs): string | undefined {
  if (name === hostLabel) return undefined;
  const [, kind, nested, note] = /^(trusted|user)\.overlay\.(overlay\.)?(.*)$/s.exec(name) ?? [];
  if (kind === undefined) return name;
  // Through an overlay one level is gone already.
  if (seen === 'overlay') return kind === 'trusted' ? `trusted.overlay.overlay.${nested ?? ''}${note}` : name;
  if (kind !== seen) return kind === 'user' || nested !== undefined ? name : undefined;
  if (nested === undefined) return undefined;
  return kind === 'trusted' ? name : `user.overlay.${note}`;
}

export function targetOf({ place }: ComparedNode): Promise<Buffer> {
  return readlink(place, { encoding: 'buffer' });
}

/** A guest made the tree: whatever is there now, no link is followed and no fifo or device is waited for. */
export function openFile({ place }: ComparedNode): Promise<FileHandle> {
  return open(place, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
}

export function major(rdev: bigint): number {
  return Number(((rdev >> 8n) & 0xfffn) | ((rdev >> 32n) & ~0xfffn));
}

export function minor(rdev: bigint): number {
  return Number((rdev & 0xffn) | ((rdev >> 12n) & 0xffffff00n));
}
