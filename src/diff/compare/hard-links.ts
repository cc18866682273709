import type { ComparedNode } from './node.js';

/** Names are paths, their bytes as latin1. */
type Name = string;

/** Which names are one file, on either side of a comparison. Only names of files with several are kept. */
export class HardLinks {
  /** Names that both sides have, by left's inode. */
  readonly #left = new Map<string, Name[]>();
  readonly #right = new Map<string, Name[]>();
  readonly #inodes = new Map<Name, { readonly left: string | undefined; readonly right: string | undefined }>();

  add(name: Name, left: ComparedNode | undefined, right: ComparedNode): void {
    const inodes = { left: left && linkedInode(left), right: linkedInode(right) };
    if (inodes.left === undefined && inodes.right === undefined) return;
    this.#inodes.set(name, inodes);
    if (inodes.left !== undefined) push(this.#left, inodes.left, name);
    if (inodes.right !== undefined) push(this.#right, inodes.right, name);
  }

  /** Names that share their file with others than before. */
  *regrouped(): Generator<Name> {
    for (const [name, { left, right }] of this.#inodes) {
      const before = left === undefined ? [name] : (this.#left.get(left) ?? []);
      const now = right === undefined ? [name] : (this.#right.get(right) ?? []);
      // Both lists are in the order of the walk.
      if (before.length !== now.length || before.some((each, index) => each !== now[index])) yield name;
    }
  }

  /** All names of right's file `name`. */
  namesOf(name: Name): readonly Name[] {
    const inode = this.#inodes.get(name)?.right;
    return inode === undefined ? [] : (this.#right.get(inode) ?? []);
  }
}

function push(groups: Map<string, Name[]>, inode: string, name: Name): void {
  const names = groups.get(inode);
  if (names) names.push(name);
  else groups.set(inode, [name]);
}

/** Names one inode, when it may have several names; folders have one. */
export function linkedInode({ stat }: ComparedNode): string | undefined {
  return stat.isDirectory() || stat.nlink === 1n ? undefined : `${stat.dev}:${stat.ino}`;
}
