import { malformed, shown } from './block.js';
import type { TarEntry } from './entry.js';
import { checkName, checkPath, checkTarget, cleanPath, opaqueMarker, splitPath, whiteoutPrefix } from './names.js';
import { newFolder, plainFolder, whiteout, type Folder, type Leaf, type Node } from './nodes.js';
import { notBelow, Resolver } from './resolve.js';
import type { Attributes } from './writer.js';
import { joinXattrs, keptXattrs, type Xattrs } from './xattrs.js';

/** What one layer may make this process remember. */
interface TreeLimits {
  /** Names that are in the tree at one time or another. */
  readonly names: number;
  /** Bytes of these names, targets of links and extended attributes. */
  readonly bytes: number;
  /** See `Resolver`. */
  readonly steps?: number;
}

/** Far above what images have; the worst tar within them takes less than 1 GiB. */
const defaultLimits: TreeLimits = { names: 2_000_000, bytes: 256 * 1024 * 1024 };

/** What an entry adds to the layer, when nothing else has to be told of it. Paths are without links. */
export type Step =
  | { readonly kind: 'nothing' }
  /** A folder is new, or has changed. */
  | { readonly kind: 'folder'; readonly path: string; readonly folder: Folder; readonly xattrs: Xattrs | undefined }
  | { readonly kind: 'leaf'; readonly path: string; readonly leaf: Leaf; readonly xattrs: Xattrs | undefined }
  | { readonly kind: 'link'; readonly path: string; readonly target: string; readonly leaf: Leaf }
  | { readonly kind: 'whiteout'; readonly path: string; readonly parent: Folder; readonly parentPath: string };

const nothing: Step = { kind: 'nothing' };
const idMax = 2 ** 32 - 2;
const majorMax = 4095;
const minorMax = 1_048_575;

interface Place {
  readonly parent: Folder;
  readonly parentPath: string;
  readonly name: string;
  readonly path: string;
}

/**
 * What a layer's entries make of its names, one after the other: containerd's `archive.Apply` for overlayfs, held in memory. Where containerd
 * refuses a name that is both whiteout and something else, or forgets that a folder was something else in between, the image
 * specification decides: a whiteout hides what older layers have and nothing of its own, and a folder in the place of something else is a new one.
 */
export class LayerTree {
  readonly root = newFolder();
  readonly #limits: TreeLimits;
  readonly #resolver: Resolver;
  #entries = 0;
  #names = 0;
  #bytes = 0;
  #oddity: string | undefined;
  /** The folder of the last entry, since the next one is mostly in the same. */
  #last: { readonly given: string; readonly folder: Folder; readonly path: string } | undefined;

  constructor(limits: TreeLimits = defaultLimits) {
    this.#limits = limits;
    this.#resolver = new Resolver(this.root, limits.steps);
  }

  /** Why the steps so far do not make up the tree, if they do not: an entry replaced or changed what an earlier one had made. */
  get oddity(): string | undefined {
    return this.#oddity;
  }

  /** @throws CodedError `invalid-argument` for what makes no tree, with the entry's offset */
  take(entry: TarEntry): Step {
    const number = this.#entries++;
    const path = cleanPath(entry.name, entry.offset);
    if (path === '') return this.#takeRoot(entry);
    const [above, name] = splitPath(path);
    const { folder: parent, path: parentPath } = this.#parent(above, entry.offset);
    const place = { parent, parentPath, name, path: join(parentPath, name) };
    if (name === opaqueMarker) return this.#takeOpaque(place, entry.offset);
    if (name.startsWith(whiteoutPrefix)) return this.#takeWhiteout(place, entry.offset);
    if (entry.type === 'g') return this.#takeGlobal(place);
    checkName(name, entry.offset);
    checkPath(place.path, entry.offset);
    if (entry.type === '5') return this.#takeFolder(place, entry);
    if (entry.type === '1') return this.#takeLink(place, entry);
    return this.#takeLeaf(place, entry, number);
  }

  /** containerd ignores it, and a guest's root would then have the attributes of a folder on the host. */
  #takeRoot(entry: TarEntry): Step {
    return entry.type === '5' ? this.#describe(this.root, '', entry) : nothing;
  }

  #takeOpaque({ parent, parentPath }: Place, offset: number): Step {
    if (parent === this.root) throw malformed('the whiteout ".wh..wh..opq" hides everything below the root', offset);
    return this.#hide(parent, parentPath, false);
  }

  #takeWhiteout({ parent, parentPath, name }: Place, offset: number): Step {
    const gone = name.slice(whiteoutPrefix.length);
    if (gone === '' || gone === '.' || gone === '..') {
      throw malformed(`the whiteout ${shown(join(parentPath, name))} removes nothing that has a name`, offset);
    }
    checkName(gone, offset);
    checkPath(join(parentPath, gone), offset);
    const node = parent.children?.get(gone);
    if (node?.kind === 'folder') return this.#hide(node, join(parentPath, gone), true);
    if (node) return nothing;
    return this.#putWhiteout({ parent, parentPath, name: gone, path: join(parentPath, gone) }, offset);
  }

  #putWhiteout({ parent, parentPath, name, path }: Place, offset: number): Step {
    this.#put(parent, name, whiteout, offset);
    parent.whiteouts = true;
    return { kind: 'whiteout', path, parent, parentPath };
  }

  #hide(folder: Folder, path: string, anew: boolean): Step {
    folder.anew ||= anew;
    if (folder.opaque) return nothing;
    folder.opaque = true;
    return folder.described ? { kind: 'folder', path, folder, xattrs: undefined } : nothing;
  }

  /** Go hands it on as an entry without a body, and containerd then removes what has its name. */
  #takeGlobal({ parent, name }: Place): Step {
    if (parent.children?.has(name)) this.#remove(parent, name);
    return nothing;
  }

  #takeFolder({ parent, name, path }: Place, entry: TarEntry): Step {
    const node = parent.children?.get(name);
    if (node?.kind === 'folder') return this.#describe(node, path, entry);
    const folder = newFolder();
    if (node) {
      this.#remove(parent, name);
      folder.opaque = folder.anew = true;
    }
    this.#put(parent, name, folder, entry.offset);
    return this.#describe(folder, path, entry);
  }

  /** Later attributes go before earlier ones, and extended ones add up. */
  #describe(folder: Folder, path: string, entry: TarEntry): Step {
    const xattrs = keptXattrs(entry.xattrs, 'file or folder', entry.offset);
    const attributes = this.#attributes(entry, folder.attributes);
    const isSame = folder.described && sameAttributes(attributes, folder.attributes) && !xattrs;
    if (xattrs && folder.xattrs) this.#odd('a folder is given extended attributes twice');
    folder.described = true;
    folder.attributes = attributes;
    folder.xattrs = joinXattrs(folder.xattrs, xattrs, entry.offset);
    this.#holdXattrs(xattrs, entry.offset);
    return isSame ? nothing : { kind: 'folder', path, folder, xattrs };
  }

  #takeLeaf(place: Place, entry: TarEntry, number: number): Step {
    const { offset, type, link, major, minor } = entry;
    if (!'023467'.includes(type)) throw malformed(`the entry is of the unknown type ${shown(type)}`, offset);
    const isFile = type === '0' || type === '7';
    if (type === '2') checkTarget(link, offset);
    const isDevice = type === '3' || type === '4';
    if (isDevice && !(isWithin(major, majorMax) && isWithin(minor, minorMax))) {
      throw malformed(`no device has the number ${major}:${minor}`, offset);
    }
    this.#clear(place);
    if (type === '3' && major === 0 && minor === 0) return this.#putWhiteout(place, offset);
    const attributes = this.#attributes(type === '2' ? { ...entry, mode: 0o777 } : entry, plainFolder);
    const target = type === '2' ? link : '';
    const leaf: Leaf = {
      kind: 'leaf',
      type: isFile ? '0' : type,
      entry: number,
      size: isFile ? entry.size : 0,
      target,
      attributes,
      linkXattrs: undefined,
    };
    this.#put(place.parent, place.name, leaf, offset);
    const xattrs = keptXattrs(entry.xattrs, isFile ? 'file or folder' : 'other', offset);
    return { kind: 'leaf', path: place.path, leaf, xattrs };
  }

  /** The attributes that a hard link states are given to the file that it names. */
  #takeLink(place: Place, entry: TarEntry): Step {
    const { offset, link } = entry;
    this.#clear(place);
    const target = this.#linkTarget(link, offset);
    const leaf = this.#resolver.find(target, offset);
    if (leaf?.kind !== 'leaf') {
      const what = leaf?.kind === 'folder' ? 'is a folder' : 'is not in this layer before it';
      throw malformed(`the hard link ${shown(place.path)} is to ${shown(link)}, which ${what}`, offset);
    }
    const attributes = this.#attributes(leaf.type === '2' ? { ...entry, mode: 0o777 } : entry, leaf.attributes);
    const xattrs = keptXattrs(entry.xattrs, leaf.type === '0' ? 'file or folder' : 'other', offset);
    if (xattrs || !sameAttributes(attributes, leaf.attributes)) this.#odd('a hard link changes what it names');
    leaf.attributes = attributes;
    leaf.linkXattrs = joinXattrs(leaf.linkXattrs, xattrs, offset);
    this.#holdXattrs(xattrs, offset);
    this.#put(place.parent, place.name, leaf, offset);
    return { kind: 'link', path: place.path, target, leaf };
  }

  /** Links above the last name are followed, and the last one is not. */
  #linkTarget(link: string, offset: number): string {
    // Refuses what leads upwards; which names it has is found out with their links followed.
    cleanPath(link, offset);
    const [above, name] = splitPath(link);
    const folder = above === '' ? '' : this.#resolver.resolve(above, offset);
    if (name === '' || name === '.') return folder;
    return name === '..' ? splitPath(folder)[0] : join(folder, name);
  }

  /** -1 leaves the owner as it is, as lchown(2) does. */
  #attributes(entry: TarEntry, before: Attributes): Attributes {
    const { mode, mtime, mtimeNsec, offset } = entry;
    if (!Number.isSafeInteger(mtime)) throw malformed(`the time ${mtime} is one that no file can have`, offset);
    const id = (given: number, kept: number, what: string) => {
      if (given === -1 || given === idMax + 1) return kept;
      if (isWithin(given, idMax)) return given;
      throw malformed(`the ${what} ${given} is one that no file can have`, offset);
    };
    return { mode, uid: id(entry.uid, before.uid, 'owner'), gid: id(entry.gid, before.gid, 'group'), mtime, mtimeNsec };
  }

  /** The folder of an entry, made when it is not there. */
  #parent(given: string, offset: number): { readonly folder: Folder; readonly path: string } {
    if (this.#last?.given === given) return this.#last;
    let path = given;
    let folder = this.#makeFolders(path, offset);
    if (!folder) {
      path = this.#resolver.resolve(given, offset);
      folder = this.#makeFolders(path, offset);
    }
    if (!folder) throw notBelow(given, offset);
    this.#last = { given, folder, path };
    return this.#last;
  }

  /** Undefined when the path leads through a link. */
  #makeFolders(path: string, offset: number): Folder | undefined {
    let folder = this.root;
    if (path === '') return folder;
    checkPath(path, offset);
    for (const name of path.split('/')) {
      this.#resolver.step(offset);
      const node = folder.children?.get(name);
      if (node?.kind === 'leaf' && node.type === '2') return undefined;
      if (node?.kind === 'leaf') throw notBelow(path, offset);
      if (node?.kind === 'folder') {
        folder = node;
        continue;
      }
      checkName(name, offset);
      const made = newFolder();
      if (node) {
        this.#remove(folder, name);
        made.opaque = made.anew = true;
      }
      this.#put(folder, name, made, offset);
      folder = made;
    }
    return folder;
  }

  #clear({ parent, name }: Place): void {
    if (parent.children?.has(name)) this.#remove(parent, name);
  }

  #remove(parent: Folder, name: string): void {
    parent.children?.delete(name);
    this.#last = undefined;
    this.#odd('a name is used twice');
  }

  #put(parent: Folder, name: string, node: Node, offset: number): void {
    (parent.children ??= new Map<string, Node>()).set(ownCopy(name), node);
    this.#names += 1;
    this.#hold(name.length + (node.kind === 'leaf' ? node.target.length : 0), offset);
    if (this.#names > this.#limits.names) {
      throw malformed(`it has more than ${this.#limits.names} names`, offset, splitAdvice);
    }
  }

  #holdXattrs(xattrs: Xattrs | undefined, offset: number): void {
    for (const [name, value] of xattrs ?? []) this.#hold(name.length + value.length, offset);
  }

  #hold(bytes: number, offset: number): void {
    this.#bytes += bytes;
    if (this.#bytes <= this.#limits.bytes) return;
    const what = `more than ${this.#limits.bytes} bytes of names, targets of links and extended attributes of folders`;
    throw malformed(`it has ${what}`, offset, splitAdvice);
  }

  #odd(why: string): void {
    this.#oddity ??= why;
  }
}

/** Part of a longer string keeps the whole of it in memory, unless it is as short as those that V8 copies at once. */
function ownCopy(name: string): string {
  return name.length < 13 ? name : Buffer.from(name, 'latin1').toString('latin1');
}

const splitAdvice = 'build the layer as several layers';

export function join(folder: string, name: string): string {
  return folder === '' ? name : `${folder}/${name}`;
}

function isWithin(value: number, max: number): boolean {
  return value >= 0 && value <= max;
}

function sameAttributes(left: Attributes, right: Attributes): boolean {
  return (
    left.mode === right.mode &&
    left.uid === right.uid &&
    left.gid === right.gid &&
    left.mtime === right.mtime &&
    left.mtimeNsec === right.mtimeNsec
  );
}
