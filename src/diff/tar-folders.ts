import type { TarPath } from './tar-names.js';

/**
 * Finds the folders that a tar's entries need and no entry describes. mkfs.erofs would make them mode 0777, so anyone in the
 * guest could write there, and what older layers say of them would be lost.
 */
export class TarFolders {
  readonly #described = new Set<string>();
  readonly #missing = new Set<string>();
  #lastParent: string | undefined;

  /** An entry at `path` was met; it may replace an earlier one there. */
  add(path: TarPath, isFolder: boolean): void {
    const key = path.join('/');
    if (isFolder) {
      this.#described.add(key);
      this.#missing.delete(key);
    } else this.remove(path);
    const parent = path.slice(0, -1);
    const parentKey = parent.join('/');
    // Entries of one folder mostly follow each other.
    if (parentKey === this.#lastParent) return;
    for (let depth = 1; depth <= parent.length; depth++) {
      const above = parent.slice(0, depth).join('/');
      if (!this.#described.has(above)) this.#missing.add(above);
    }
    this.#lastParent = parentKey;
  }

  /** Whatever folder stood at `path` is gone, with all below it. */
  remove(path: TarPath): void {
    const key = path.join('/');
    if (!this.#described.has(key) && !this.#missing.has(key)) return;
    this.#lastParent = undefined;
    for (const folders of [this.#described, this.#missing]) {
      for (const folder of folders) if (folder === key || folder.startsWith(`${key}/`)) folders.delete(folder);
    }
  }

  get describesRoot(): boolean {
    return this.#described.has('');
  }

  /** Parents before children. */
  missing(): readonly string[] {
    return [...this.#missing].sort();
  }
}
