import type { Entry } from './images.js';

/** What one path of a tree is; times in whole seconds. */
export interface Node {
  readonly kind: 'd' | 'f';
  readonly mode: number;
  readonly uid: number;
  readonly mtime: number;
}

export type Tree = Map<string, Node>;

const undescribed: Node = { kind: 'd', mode: 0o755, uid: 0, mtime: 0 };

/** The tree that layers give by the rules of OCI layers, where a directory that an entry only implies stays as it was. */
export function applyLayers(layers: readonly (readonly Entry[])[]): Tree {
  const tree: Tree = new Map([['', undescribed]]);
  for (const layer of layers) {
    for (const { name } of layer) hide(tree, name);
    for (const entry of layer) add(tree, entry);
  }
  return tree;
}

/** Whiteouts are about older layers alone, so they come first. */
function hide(tree: Tree, name: string): void {
  const [parent, base] = split(name);
  if (!base.startsWith('.wh.')) return;
  if (base === '.wh..wh..opq') removeBelow(tree, parent);
  else remove(tree, join(parent, base.slice('.wh.'.length)));
}

function add(tree: Tree, { name, type, mode = 0o644, uid = 0, mtime = new Date(1000) }: Entry): void {
  const path = name.replace(/^\.\/|\/$/g, '');
  const [parent, base] = split(path);
  const parts = parent.split('/').filter((part) => part !== '');
  for (const depth of parts.keys()) imply(tree, parts.slice(0, depth + 1).join('/'));
  if (base.startsWith('.wh.')) return;
  const kind = type === 'directory' ? 'd' : 'f';
  if (kind === 'f' || tree.get(path)?.kind === 'f') remove(tree, path);
  tree.set(path, { kind, mode, uid, mtime: mtime.getTime() / 1000 });
}

function imply(tree: Tree, path: string): void {
  if (tree.get(path)?.kind !== 'd') tree.set(path, undescribed);
}

function remove(tree: Tree, path: string): void {
  tree.delete(path);
  removeBelow(tree, path);
}

function removeBelow(tree: Tree, path: string): void {
  for (const below of tree.keys()) if (below.startsWith(`${path}/`)) tree.delete(below);
}

function split(path: string): [parent: string, base: string] {
  const slash = path.lastIndexOf('/');
  return slash === -1 ? ['', path] : [path.slice(0, slash), path.slice(slash + 1)];
}

function join(parent: string, base: string): string {
  return parent === '' ? base : `${parent}/${base}`;
}

/** Numbers from 0 to below `limit`, the same ones for the same seed (Park and Miller, 1988). */
export function randomNumbers(seed: number): (limit: number) => number {
  let state = seed + 1;
  return (limit) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % limit;
  };
}

const names = ['a', 'b', 'c'];

/** A layer in which no two entries are at odds: each path is a file, a directory, removed, or only implied. */
export function randomLayer(random: (limit: number) => number): Entry[] {
  const entries: Entry[] = [];
  const fill = (parent: string, depth: number) => {
    for (const base of names) {
      const path = join(parent, base);
      const choice = random(12);
      if (choice < 2) entries.push({ name: path, mode: 0o600 + random(0o200), mtime: new Date(random(1e6) * 1000) });
      else if (choice < 4) entries.push({ name: join(parent, `.wh.${base}`) });
      else if (choice < 9 && depth < 4) {
        const mtime = new Date(random(3) * 1000);
        const described = {
          type: 'directory',
          mode: [0o777, 0o1777, 0o700][random(3)] ?? 0,
          uid: random(2),
          mtime,
        } as const;
        const before = entries.length;
        if (random(3) === 0) entries.push({ name: `${path}/`, ...described });
        if (random(4) === 0) entries.push({ name: `${path}/.wh..wh..opq` });
        fill(path, depth + 1);
        if (random(6) === 0 && entries.length > before) entries.push({ name: `${path}/`, ...described });
      }
    }
  };
  if (random(3) === 0)
    entries.push({ name: './', type: 'directory', mode: 0o711, uid: random(2), mtime: new Date(2000) });
  fill('', 1);
  return entries;
}
