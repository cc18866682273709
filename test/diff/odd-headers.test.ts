import { text } from 'node:stream/consumers';
import { extract, type Header } from 'tar-stream';
import { expect, it } from 'vitest';
import { randomOf, runSeed, times, type Random } from '../harness/share.js';
import { canonical } from './canonical.js';
import { gnuLong, paxHeader, tar, tarEntry, withChecksum, type Entry } from './tar-builder.js';

/*
 * Layers of random entries, each written in a random form, and what they make of their names by rules that are written down here anew: on a
 * flat list of paths, where the product keeps a tree. What mkfs.erofs is given is read with another tar reader.
 */

interface Item {
  readonly kind: 'file' | 'folder' | 'link' | 'hard link' | 'whiteout' | 'opaque';
  readonly path: string;
  readonly uid: number;
  readonly mode: number;
  readonly text: string;
  readonly xattr: boolean;
}

/** What stands at a path. Hard links share one. */
interface Thing {
  type: 'file' | 'folder' | 'link' | 'whiteout';
  uid: number;
  mode: number;
  text: string;
  attributes: Set<string>;
}

const names = ['a', 'b', 'c'];

function randomItem(random: Random, number: number): Item {
  const parts = Array.from({ length: random.int(1, 3) }, () => random.pick(names));
  const kind = random.pick(['file', 'file', 'folder', 'folder', 'link', 'hard link', 'whiteout', 'opaque'] as const);
  const target = random.pick(names);
  return {
    kind,
    path: parts.join('/'),
    uid: random.pick([0, 5, 3_000_000]),
    mode: random.pick([0o755, 0o4711, 0o600]),
    text: kind === 'link' || kind === 'hard link' ? target : `content ${number}`,
    xattr: random.oneIn(4),
  };
}

/** Applies an item, or tells that no layer may hold it there. */
function apply(
  tree: Map<string, Thing>,
  { kind, path, uid, mode, text: content, xattr }: Item,
  number: number,
): boolean {
  const above = path.split('/').slice(0, -1);
  for (let depth = 1; depth <= above.length; depth++) {
    const thing = tree.get(above.slice(0, depth).join('/'));
    // What links do to the paths below them has tests of its own.
    if (thing?.type === 'file' || thing?.type === 'link') return false;
  }
  const at = tree.get(path)?.type;
  if (kind === 'opaque' && (at === 'file' || at === 'link')) return false;
  const linked = kind === 'hard link' ? tree.get(content) : undefined;
  if (kind === 'hard link') {
    const isBelow = content === path || content.startsWith(`${path}/`);
    if (isBelow || (linked?.type !== 'file' && linked?.type !== 'link')) return false;
  }
  for (let depth = 1; depth <= above.length; depth++) makeFolder(tree, above.slice(0, depth).join('/'));
  const before = tree.get(path);
  const attributes = new Set(xattr ? [`user.n${number}`] : []);
  if (kind === 'opaque') {
    makeFolder(tree, path).attributes.add('opaque');
  } else if (kind === 'whiteout') {
    if (before?.type === 'folder') before.attributes.add('opaque');
    else if (!before) tree.set(path, { type: 'whiteout', uid: 0, mode: 0, text: '', attributes: new Set() });
  } else if (kind === 'folder') {
    const folder = makeFolder(tree, path);
    Object.assign(folder, { uid, mode });
    for (const attribute of attributes) folder.attributes.add(attribute);
  } else {
    for (const other of [...tree.keys()]) if (other === path || other.startsWith(`${path}/`)) tree.delete(other);
    const isLink = (linked?.type ?? kind) === 'link';
    const more = isLink ? [] : attributes;
    if (linked) {
      Object.assign(linked, { uid, mode: isLink ? 0o777 : mode });
      for (const attribute of more) linked.attributes.add(attribute);
      tree.set(path, linked);
    } else {
      const type = isLink ? 'link' : 'file';
      tree.set(path, { type, uid, mode: isLink ? 0o777 : mode, text: content, attributes: new Set(more) });
    }
  }
  return true;
}

function makeFolder(tree: Map<string, Thing>, path: string): Thing {
  const before = tree.get(path);
  if (before?.type === 'folder') return before;
  const attributes = new Set(before ? ['opaque'] : []);
  const folder: Thing = { type: 'folder', uid: 0, mode: 0o755, text: '', attributes };
  tree.set(path, folder);
  return folder;
}

const types = { file: '0', folder: '5', link: '2', 'hard link': '1', whiteout: '0', opaque: '0' } as const;

/** One of the forms in which the same can be said. */
function written(random: Random, item: Item, number: number): Buffer {
  const { kind, uid, mode, text: content } = item;
  const slash = item.path.lastIndexOf('/') + 1;
  const marked = kind === 'whiteout' ? `${item.path.slice(0, slash)}.wh.${item.path.slice(slash)}` : item.path;
  const path = `${random.pick(['', './', '/', 'c/../'])}${kind === 'opaque' ? `${item.path}/.wh..wh..opq` : marked}`;
  const isFile = kind === 'file';
  const isLink = kind === 'link' || kind === 'hard link';
  const form = random.pick(['ustar', 'pax', 'GNU', 'both', 'twice', 'star', 'v7'] as const);
  const pax: Record<string, string> = item.xattr ? { [`SCHILY.xattr.user.n${number}`]: 'x' } : {};
  const headers: Buffer[] = [];
  if (form === 'GNU' || form === 'both') headers.push(gnuLong('L', path));
  if ((form === 'GNU' || form === 'both') && isLink) headers.push(gnuLong('K', content));
  if (form === 'twice') headers.push(paxHeader({ path: 'no/such/name', size: '7', uid: '9' }));
  const isHidden = form !== 'ustar' && form !== 'star' && form !== 'v7';
  if (form === 'pax' || form === 'twice')
    Object.assign(pax, { path, uid: String(uid), ...(isLink ? { linkpath: content } : {}) });
  if (form === 'both')
    Object.assign(pax, { path: '../ignored', uid: String(uid), ...(isLink ? { linkpath: '../ignored' } : {}) });
  const isPaxOwner = form === 'pax' || form === 'twice' || form === 'both';
  const entry: Entry = {
    name: isHidden ? 'short' : path,
    type: isFile && form === 'v7' ? '\0' : types[kind],
    mode: mode + (random.oneIn(2) ? 0o100000 : 0),
    uid: isPaxOwner ? 1 : uid,
    link: isLink ? (isHidden ? 'short' : content) : '',
    data: isFile ? content : '',
    ...(isLink && random.oneIn(2) ? { size: 99 } : {}),
  };
  if (Object.keys(pax).length > 0) headers.push(paxHeader(pax));
  const bytes = tarEntry(entry);
  if (form === 'v7') bytes.fill(0, 257, 512);
  if (form === 'star') bytes.write('tar\0', 508, 'latin1');
  withChecksum(bytes.subarray(0, 512));
  return Buffer.concat([...headers, bytes]);
}

interface Read {
  readonly header: Header;
  readonly body: string;
}

async function readTar(bytes: Buffer): Promise<Read[]> {
  const found: Read[] = [];
  const reader = extract();
  reader.end(bytes);
  for await (const entry of reader) found.push({ header: entry.header, body: await text(entry) });
  return found;
}

/** The tree as lines, of what the product hands on. */
function handedOn(entries: readonly Read[]): string[] {
  const lines = new Map<string, Thing>();
  for (const { header, body } of entries) {
    const attributes = new Set<string>();
    for (const key of Object.keys(header.pax ?? {})) {
      if (key === 'SCHILY.xattr.trusted.overlay.opaque') attributes.add('opaque');
      else if (key.startsWith('SCHILY.xattr.user.')) attributes.add(key.slice('SCHILY.xattr.'.length));
    }
    const before = lines.get(header.name);
    if (header.type === 'link') {
      const linked = lines.get(header.linkname);
      expect(linked && !before, `${header.name} is a hard link to an earlier entry`).toBeTruthy();
      lines.set(header.name, linked as Thing);
      continue;
    }
    expect(before === undefined || header.type === 'directory', `${header.name} is handed on once`).toBe(true);
    const type = typeOf(header);
    const content = type === 'link' ? header.linkname : body;
    for (const attribute of before?.attributes ?? []) attributes.add(attribute);
    lines.set(header.name, { type, uid: ownerOf(header), mode: header.mode, text: content, attributes });
  }
  lines.delete('.');
  return asLines(lines);
}

function typeOf({ type }: Header): Thing['type'] {
  if (type === 'directory') return 'folder';
  if (type === 'symlink') return 'link';
  return type === 'character-device' ? 'whiteout' : 'file';
}

/** This reader leaves pax owners to its callers. */
function ownerOf({ pax, uid }: Header): number {
  return Number((pax as Partial<Record<string, string>> | null)?.['uid'] ?? uid);
}

function asLines(tree: ReadonlyMap<string, Thing>): string[] {
  const first = new Map<Thing, string>();
  return [...tree]
    .sort(([left], [right]) => (left < right ? -1 : 1))
    .map(([path, thing]) => {
      const { type, uid, mode, text: content, attributes } = thing;
      if (!first.has(thing)) first.set(thing, path);
      const parts = [path, type, uid, mode.toString(8), content, ...[...attributes].sort(), `is ${first.get(thing)}`];
      return parts.join(' ');
    });
}

it('layers of odd headers make the trees that the rules say', async () => {
  for (let round = 0; round < times(300, 20_000); round++) {
    const seed = (runSeed() + round) % 2 ** 31;
    const random = randomOf(seed);
    const tree = new Map<string, Thing>();
    const parts: Buffer[] = [];
    for (let number = 0; number < random.int(2, 14); number++) {
      const item = randomItem(random, number);
      if (apply(tree, item, number)) parts.push(written(random, item, number));
    }
    const { bytes } = canonical(Buffer.concat([...parts, tar()]));
    expect(handedOn(await readTar(bytes)), `TEST_SEED=${seed}`).toEqual(asLines(tree));
  }
}, 120_000);
