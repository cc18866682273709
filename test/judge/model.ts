import { createHash } from 'node:crypto';
import { shown, shownTime, type Entry } from '../conformance/tree.js';
import type { Item } from './items.js';

/*
 * What the OCI image specification (layer.md, "Applying Changesets" and "Whiteouts") makes of a stack of layers, entry by entry:
 *
 * - Whiteouts and opaque markers hide what older layers have, wherever in their layer they stand, and never what their own has.
 * - The other entries apply in order. A folder on a folder changes its attributes and keeps what it holds; anything else
 *   replaces what was there, with all below it.
 * - A folder that a layer only implies is as the older layers have it, else 0755, root's, of no certain time.
 *
 * What the specification leaves open is as the kernel's overlay shows it: a folder that a newer layer describes has the extended
 * attributes of that description, and of one layer's descriptions of a folder they add up.
 */

/** An entry as {@link Entry}; `mtime` is undefined where no layer says it. */
export type ModelEntry = Omit<Entry, 'mtime' | 'links'> & {
  readonly mtime: string | undefined;
  readonly links: readonly string[];
  /** The extended attributes are as an older layer describes them, which our merge does not inherit (decision 10). */
  readonly inherited: boolean;
  /** It replaced a folder of its own layer, whose time containerd then gives to it. */
  readonly replaced: boolean;
};

export type ModelTree = Readonly<Record<string, ModelEntry>>;

interface Node {
  kind: Exclude<Item['kind'], 'whiteout' | 'opaque' | 'link'>;
  mode: number;
  owner: string;
  mtime: string | undefined;
  content: string;
  xattrs: Record<string, string>;
  /** The layer that last had an entry of it, or below it. */
  layer: number;
  /** The layer that last described it. */
  described: number;
  replaced: boolean;
}

class Refusal extends Error {}

/** @returns `refused` when a layer describes no tree */
export function modelOf(layers: readonly (readonly Item[])[]): ModelTree | 'refused' {
  const tree = new Map<string, Node>([['', impliedFolder(-1)]]);
  try {
    layers.forEach((items, layer) => apply(tree, items, layer));
  } catch (error) {
    if (error instanceof Refusal) return 'refused';
    throw error;
  }
  const names = new Map<Node, string[]>();
  for (const [path, node] of tree) {
    if (node.kind !== 'folder') names.set(node, [...(names.get(node) ?? []), shownPath(path)]);
  }
  const entries = [...tree].map(([path, node]): [string, ModelEntry] => {
    const links = names.get(node) ?? [];
    return [
      shownPath(path),
      {
        type: typeNames[node.kind],
        mode: node.mode.toString(8),
        owner: node.owner,
        mtime: node.mtime,
        content: node.content,
        xattrs: Object.fromEntries(
          Object.entries(node.xattrs).map(([key, value]) => [shown(key), Buffer.from(value, 'latin1').toString('hex')]),
        ),
        links: links.length > 1 ? links.sort() : [],
        replaced: node.replaced,
        inherited: node.kind === 'folder' && node.layer !== node.described,
      },
    ];
  });
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

const typeNames = {
  file: 'file',
  folder: 'directory',
  symlink: 'symlink',
  char: 'character',
  block: 'block',
  fifo: 'fifo',
} as const;

function shownPath(path: string): string {
  return shown(`/${path}`);
}

function impliedFolder(layer: number): Node {
  return {
    kind: 'folder',
    mode: 0o755,
    owner: '0:0',
    mtime: undefined,
    content: '',
    xattrs: {},
    layer,
    described: layer,
    replaced: false,
  };
}

function apply(tree: Map<string, Node>, items: readonly Item[], layer: number): void {
  for (const item of items) {
    if (item.kind === 'whiteout') removeBelow(tree, item.path, true);
    if (item.kind === 'opaque') removeBelow(tree, item.path, false);
  }
  for (const item of items) {
    const { path } = item;
    if (item.kind === 'whiteout') {
      makeParents(tree, path, layer);
      continue;
    }
    if (item.kind === 'opaque') {
      makeParents(tree, `${path}/`, layer);
      continue;
    }
    makeParents(tree, path, layer);
    const before = tree.get(path);
    const isFolderHere = before?.layer === layer && (before.kind === 'folder' || before.replaced);
    if (item.kind === 'link') {
      const target = tree.get(item.target);
      if (target === undefined || target.layer !== layer || target.kind === 'folder') throw new Refusal(item.target);
      removeBelow(tree, path, true);
      Object.assign(target, attributesOf(item, target.kind, target.xattrs));
      target.replaced ||= isFolderHere;
      tree.set(path, target);
      continue;
    }
    const merges = before?.kind === 'folder' && item.kind === 'folder';
    if (!merges) removeBelow(tree, path, true);
    const node: Node = {
      kind: item.kind,
      ...attributesOf(item, item.kind, merges && before.described === layer ? before.xattrs : {}),
      content: contentOf(item),
      layer,
      described: layer,
      replaced: item.kind !== 'folder' && isFolderHere,
    };
    if (merges) Object.assign(before, node);
    else tree.set(path, node);
  }
}

function removeBelow(tree: Map<string, Node>, path: string, itself: boolean): void {
  const prefix = path === '' ? '' : `${path}/`;
  for (const known of [...tree.keys()]) {
    if (known !== '' && ((itself && known === path) || (known !== path && known.startsWith(prefix))))
      tree.delete(known);
  }
}

/** Folders above a path that the layer implies; what an older layer has there that is no folder is replaced. */
function makeParents(tree: Map<string, Node>, path: string, layer: number): void {
  const parts = path.split('/').slice(0, -1);
  tree.get('')!.layer = layer;
  parts.forEach((_, depth) => {
    const folder = parts.slice(0, depth + 1).join('/');
    if (folder === '') return;
    const node = tree.get(folder);
    if (node?.kind === 'folder') {
      node.layer = layer;
      return;
    }
    if (node?.layer === layer) throw new Refusal(folder);
    tree.delete(folder);
    tree.set(folder, impliedFolder(layer));
  });
}

type Described = Exclude<Item, { kind: 'whiteout' | 'opaque' }>;

function attributesOf(item: Described, kind: Node['kind'], xattrs: Readonly<Record<string, string>>) {
  const kept = Object.entries(item.xattrs).filter(([key]) => isKept(key, kind));
  return {
    mode: kind === 'symlink' ? 0o777 : item.mode,
    owner: `${item.uid}:${item.gid}`,
    mtime: shownTime(BigInt(item.time.s) * 1_000_000_000n + BigInt(item.time.ns)),
    xattrs: { ...xattrs, ...Object.fromEntries(kept) },
  };
}

/** Linux keeps `user.*` on files and folders alone; what is overlay's own is never taken from a layer. */
function isKept(key: string, kind: Node['kind']): boolean {
  if (key.startsWith('user.')) return kind === 'file' || kind === 'folder';
  return !key.startsWith('trusted.overlay.');
}

function contentOf(item: Described): string {
  if (item.kind === 'file') {
    const data = Buffer.from(item.data, 'latin1');
    return `${data.length} bytes ${createHash('sha256').update(data).digest('hex')}`;
  }
  if (item.kind === 'symlink') return item.target;
  if (item.kind !== 'char' && item.kind !== 'block') return '';
  const [major, minor] = item.device;
  // As makedev(3) of glibc joins them.
  const number =
    ((BigInt(major) & 0xfffff000n) << 32n) |
    ((BigInt(major) & 0xfffn) << 8n) |
    ((BigInt(minor) & 0xffffff00n) << 12n) |
    (BigInt(minor) & 0xffn);
  return `device ${number}`;
}
