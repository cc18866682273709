import type { Implied } from '../../erofs/index.js';
import type { CanonicalTar } from './canonical.js';
import { checkImplied, eachFolder, imageBytesOf, impliedBy } from './canonical.js';
import type { TarEntry } from './entry.js';
import { untold, type Folder, type Leaf } from './nodes.js';
import type { TarSink } from './reader.js';
import { join, LayerTree, type Step } from './tree.js';
import { joinXattrs, keptXattrs } from './xattrs.js';

/** A way to let a layer's tar through. */
export interface Pass extends TarSink {
  /** Bytes of the image that comes of the entries handed on so far, about. */
  readonly imageBytes: number;
  /** To be called at the tar's end, so many bytes in. */
  finish(offset: number): Implied;
}

/**
 * Hands each entry on as it comes by, as long as that makes the layer's tree. Where an entry replaces or changes what an earlier one made it
 * hands on no more, and only finds out the tree, which a {@link SecondPass} then hands on.
 */
export class FirstPass implements Pass {
  readonly tree = new LayerTree();
  readonly #output: CanonicalTar;
  #imageBytes = 0;
  /** Bytes of the present file so far. */
  #content = 0;

  constructor(output: CanonicalTar) {
    this.#output = output;
  }

  /** Whether the entries handed on are not the tree. */
  get isOdd(): boolean {
    return this.tree.oddity !== undefined;
  }

  get imageBytes(): number {
    return this.#imageBytes;
  }

  entry(entry: TarEntry): boolean {
    const step = this.tree.take(entry);
    if (this.isOdd) return false;
    // The content is counted as it comes: what an entry says of its size may be a lie.
    if (step.kind !== 'nothing') this.#imageBytes += imageBytesOf(0);
    this.#content = 0;
    this.#handOn(step, entry);
    return step.kind === 'leaf' && step.leaf.type === '0';
  }

  content(part: Buffer): void {
    this.#content += part.length;
    this.#imageBytes += part.length;
    this.#output.content(part);
  }

  hole(bytes: number): void {
    this.#content += bytes;
    this.#imageBytes += bytes;
    this.#output.hole(bytes);
  }

  ended(): void {
    this.#imageBytes += imageBytesOf(this.#content) - imageBytesOf(0) - this.#content;
    this.#output.ended();
  }

  finish(offset: number): Implied {
    const { root } = this.tree;
    checkImplied(root, offset);
    if (this.isOdd) this.#imageBytes = imageBytesOfTree(root);
    else {
      eachFolder(root, (path, folder) => {
        const { told, opaque, whiteouts } = folder;
        const isTold = (told.itself || path === '') && told.opaque === opaque && told.whiteouts === whiteouts;
        if (!isTold) this.#output.folder(path, folder, undefined);
      });
      this.#output.end();
    }
    return impliedBy(root);
  }

  #handOn(step: Step, entry: TarEntry): void {
    const output = this.#output;
    if (step.kind === 'folder') output.folder(step.path, step.folder, step.xattrs);
    else if (step.kind === 'leaf') output.leaf(step.path, step.leaf, entry, step.xattrs);
    else if (step.kind === 'link') output.link(step.path, step.target, step.leaf);
    else if (step.kind === 'whiteout') {
      output.whiteout(step.path);
      const { parent, parentPath } = step;
      if (parent.told.itself && !parent.told.whiteouts) output.folder(parentPath, parent, undefined);
    }
  }
}

interface Kept {
  readonly leaf: Leaf;
  readonly paths: string[];
}

/** Hands on a tree that is known already: its folders and whiteouts first, then what of the tar is in it, in the tar's order. */
export class SecondPass implements Pass {
  readonly imageBytes = 0;
  readonly #tree: LayerTree;
  readonly #output: CanonicalTar;
  readonly #kept = new Map<number, Kept>();
  #entries = 0;
  #current: Kept | undefined;

  constructor(tree: LayerTree, output: CanonicalTar) {
    this.#tree = tree;
    this.#output = output;
  }

  /** To be called before all else. */
  begin(): void {
    const { root } = this.#tree;
    eachFolder(root, (path, folder) => {
      folder.told = untold;
      if (path !== '' || folder.described || folder.opaque || folder.whiteouts) {
        this.#output.folder(path, folder, folder.xattrs);
      }
      this.#keep(path, folder);
    });
  }

  entry(entry: TarEntry): boolean {
    const kept = this.#kept.get(this.#entries++);
    if (!kept) return false;
    const { leaf, paths } = kept;
    const own = keptXattrs(entry.xattrs, leaf.type === '0' ? 'file or folder' : 'other', entry.offset);
    this.#output.leaf(paths[0] ?? '', leaf, entry, joinXattrs(own, leaf.linkXattrs, entry.offset));
    this.#current = kept;
    return true;
  }

  content(part: Buffer): void {
    this.#output.content(part);
  }

  hole(bytes: number): void {
    this.#output.hole(bytes);
  }

  ended(): void {
    this.#output.ended();
    const { leaf, paths } = this.#current ?? { paths: [] };
    if (leaf) for (const path of paths.slice(1)) this.#output.link(path, paths[0] ?? '', leaf);
  }

  finish(): Implied {
    this.#output.end();
    return impliedBy(this.#tree.root);
  }

  #keep(path: string, folder: Folder): void {
    for (const [name, node] of folder.children ?? []) {
      if (node.kind === 'whiteout') this.#output.whiteout(join(path, name));
      if (node.kind !== 'leaf') continue;
      const kept = this.#kept.get(node.entry);
      if (kept) kept.paths.push(join(path, name));
      else this.#kept.set(node.entry, { leaf: node, paths: [join(path, name)] });
    }
  }
}

function imageBytesOfTree(root: Folder): number {
  let bytes = 0;
  const seen = new Set<Leaf>();
  eachFolder(root, (_path, folder) => {
    bytes += imageBytesOf(0);
    for (const node of folder.children?.values() ?? []) {
      if (node.kind === 'leaf' && !seen.has(node)) {
        seen.add(node);
        bytes += imageBytesOf(node.size);
      }
    }
  });
  return bytes;
}
