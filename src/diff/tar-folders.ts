import { malformed } from './tar-header.js';
import type { TarPath } from './tar-names.js';

/** What one tar may make this process remember; the names are in bytes. */
interface FolderLimits {
  /** All folders, each counted once and with its own name alone. */
  readonly folders: number;
  readonly names: number;
  /** The folders that no entry describes, with their whole paths, since each is written into the tar. */
  readonly implied: number;
  readonly impliedPaths: number;
}

/** Far above what images have; the worst tar within them takes less than 1 GiB. */
const defaultLimits: FolderLimits = {
  folders: 2_000_000,
  names: 256 * 1024 * 1024,
  implied: 100_000,
  impliedPaths: 64 * 1024 * 1024,
};

interface Folder {
  described: boolean;
  children: Map<string, Folder> | undefined;
}

/**
 * Finds the folders that a tar's entries need and no entry describes. mkfs.erofs would make them mode 0777, so anyone in the
 * guest could write there, and what older layers say of them would be lost. A tree, so that a path costs its own names only,
 * however many share its beginning.
 */
export class TarFolders {
  readonly #limits: FolderLimits;
  readonly #root: Folder = { described: false, children: undefined };
  readonly #held = { folders: 0, names: 0, implied: 0, impliedPaths: 0 };

  constructor(limits: FolderLimits = defaultLimits) {
    this.#limits = limits;
  }

  /**
   * An entry at `path`, whose header is at `offset`, was met; it may replace an earlier one there.
   *
   * @throws SnapshotterError `invalid-argument` when the tar has more folders than its limits allow
   */
  add(path: TarPath, isFolder: boolean, offset: number): void {
    if (!isFolder) this.remove(path);
    const depth = isFolder ? path.length : path.length - 1;
    let folder = this.#root;
    let pathBytes = -1;
    for (let index = 0; index < depth; index++) {
      const name = path[index] ?? '';
      pathBytes += 1 + name.length;
      folder = folder.children?.get(name) ?? this.#imply(folder, name, pathBytes);
    }
    if (isFolder && !folder.described) {
      folder.described = true;
      if (folder !== this.#root) this.#countImplied(-1, pathBytes);
    }
    this.#checkLimits(offset);
  }

  /** Whatever folder stood at `path` is gone, with all below it. */
  remove(path: TarPath): void {
    let parent = this.#root;
    let pathBytes = -1;
    for (const name of path.slice(0, -1)) {
      const next = parent.children?.get(name);
      if (!next) return;
      parent = next;
      pathBytes += 1 + name.length;
    }
    const name = path.at(-1) ?? '';
    const folder = parent.children?.get(name);
    if (!folder) return;
    parent.children?.delete(name);
    this.#forget(folder, name, pathBytes + 1 + name.length);
  }

  get describesRoot(): boolean {
    return this.#root.described;
  }

  /** Parents before children. */
  missing(): readonly string[] {
    const found: string[] = [];
    // A tar mostly describes all its folders, and then the tree need not be walked.
    if (this.#held.implied === 0) return found;
    const collect = (folder: Folder, prefix: string): void => {
      for (const [name, child] of folder.children ?? []) {
        const path = prefix + name;
        if (!child.described) found.push(path);
        if (child.children) collect(child, `${path}/`);
      }
    };
    collect(this.#root, '');
    return found.sort();
  }

  #imply(parent: Folder, name: string, pathBytes: number): Folder {
    const folder: Folder = { described: false, children: undefined };
    // Part of a longer string would keep the whole of it in memory.
    const ownName = Buffer.from(name, 'latin1').toString('latin1');
    (parent.children ??= new Map<string, Folder>()).set(ownName, folder);
    this.#held.folders += 1;
    this.#held.names += name.length;
    this.#countImplied(1, pathBytes);
    return folder;
  }

  #forget(folder: Folder, name: string, pathBytes: number): void {
    this.#held.folders -= 1;
    this.#held.names -= name.length;
    if (!folder.described) this.#countImplied(-1, pathBytes);
    for (const [below, child] of folder.children ?? []) this.#forget(child, below, pathBytes + 1 + below.length);
  }

  #countImplied(change: 1 | -1, pathBytes: number): void {
    this.#held.implied += change;
    this.#held.impliedPaths += change * pathBytes;
  }

  #checkLimits(offset: number): void {
    const { folders, names, implied, impliedPaths } = this.#limits;
    const held = this.#held;
    const none = 'folders that no entry describes';
    if (held.implied > implied) throw refused(`has more than ${implied} ${none}`, offset);
    if (held.impliedPaths > impliedPaths)
      throw refused(`has more than ${impliedPaths} bytes of paths of ${none}`, offset);
    if (held.folders > folders) throw refused(`has more than ${folders} folders`, offset);
    if (held.names > names) throw refused(`has more than ${names} bytes of names of folders`, offset);
  }
}

function refused(problem: string, offset: number): Error {
  return malformed(`it ${problem}`, offset, 'build the layer with an entry for each folder, or as several layers');
}
