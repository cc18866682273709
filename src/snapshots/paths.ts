import { join, relative, resolve, sep } from 'node:path';

import type { MergeRules } from '../erofs/index.js';
import { temporaryBeside, temporaryPrefix } from '../host/index.js';

/** Names below the root, and inside a snapshot's folder. VM runtimes rely on them; they do not change. */
const names = {
  lock: 'lock',
  metadata: 'metadata.db',
  snapshots: 'snapshots',
  trash: 'trash',
  ahead: 'ahead',
  own: '.erofs-snapshotter-leveldb',
  marker: '.erofslayer',
  record: 'snapshot.json',
  upper: 'fs',
  writable: 'rwlayer.img',
  mountPoint: 'rw',
  merged: 'fsmeta.erofs',
  disk: 'merged.vmdk',
  manifest: 'layers.manifest',
  overlaid: 'merged',
} as const;

/** The files of one merged image, side by side. */
export class MergedFolder {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** Merged metadata of a chain. */
  get image(): string {
    return join(this.path, names.merged);
  }

  get disk(): string {
    return join(this.path, names.disk);
  }

  get manifest(): string {
    return join(this.path, names.manifest);
  }

  /** What is merged above the layer of this number, counted from 1, oldest first. */
  inlay(above: number): string {
    return join(this.path, `inlay-${above}.erofs`);
  }
}

/** Everything below one snapshot's folder. */
export class SnapshotFolder {
  readonly id: number;
  readonly path: string;

  constructor(id: number, path: string) {
    this.id = id;
    this.path = path;
  }

  /** Says that the folder is ours, whatever else is lost: no other program has this name. The first thing in a folder. */
  get ownMarker(): string {
    return join(this.path, names.own);
  }

  /** What consumers look for. containerd's erofs snapshotter and others put it into theirs, so it proves nothing. */
  get marker(): string {
    return join(this.path, names.marker);
  }

  /** The metadata record again, from which LevelDB can be rebuilt. */
  get record(): string {
    return join(this.path, names.record);
  }

  /** Plain directory: source of extract binds and of empty views, upper of overlay mode. */
  get upper(): string {
    return join(this.path, names.upper);
  }

  /** ext4 image of block mode. */
  get writable(): string {
    return join(this.path, names.writable);
  }

  /** Where `writable` is mounted while the host reads it. */
  get mountPoint(): string {
    return join(this.path, names.mountPoint);
  }

  /** What the guest wrote, while `writable` is mounted. */
  get mountedUpper(): string {
    return join(this.path, names.mountPoint, 'upper');
  }

  /**
   * Where the merged image of the chain that ends here lies: beside the layer, or, where mkfs.erofs alone would merge the layers
   * wrongly, in a folder of its own, since releases before record version 3 may have left an image of theirs beside the layer.
   */
  mergedBy(rules: MergeRules): MergedFolder {
    return new MergedFolder(rules === 'mkfs' ? this.path : join(this.path, names.overlaid));
  }

  layer(fileName: string): string {
    return join(this.path, fileName);
  }
}

/** The one builder of paths below the root. Ids are numbers of our own; nothing from the wire becomes a path. */
export class RootPaths {
  readonly root: string;

  constructor(root: string) {
    this.root = resolve(root);
  }

  /** Says that the root is ours: no other program has this name. */
  get ownMarker(): string {
    return join(this.root, names.own);
  }

  get lock(): string {
    return join(this.root, names.lock);
  }

  get metadata(): string {
    return join(this.root, names.metadata);
  }

  /** Where a metadata.db that cannot be read is kept when it is rebuilt. */
  corruptMetadata(time: Date): string {
    return `${this.metadata}.corrupt-${time.toISOString().replaceAll(/[:.]/g, '')}`;
  }

  get trash(): string {
    return join(this.root, names.trash);
  }

  get snapshots(): string {
    return join(this.root, names.snapshots);
  }

  /** Layers that have no snapshot yet. Nothing in here outlives the process. */
  get aheads(): string {
    return join(this.root, names.ahead);
  }

  ahead(name: string): string {
    return join(this.aheads, name);
  }

  snapshot(id: number): SnapshotFolder {
    return new SnapshotFolder(id, join(this.snapshots, String(id)));
  }

  /** A folder for what is mounted while two snapshots are compared; recovery finds it by the prefix of its name. */
  comparison(): string {
    return temporaryBeside(join(this.snapshots, 'compare'));
  }

  /**
   * True for where a Commit or a Diff mounts: `rw/` of a snapshot, also after it went to the trash, and what lies in the folder of
   * a comparison.
   */
  isMountPoint(path: string): boolean {
    const [kind, first, second, ...more] = relative(this.root, path).split(sep);
    if (second === undefined) return false;
    if (kind === names.snapshots && first?.startsWith(temporaryPrefix)) return true;
    const known = kind === names.snapshots ? parseId(first) !== undefined : kind === names.trash;
    return known && second === names.mountPoint && more.length === 0;
  }

  isInTrash(path: string): boolean {
    const [kind, first, second] = relative(this.root, path).split(sep);
    return kind === names.trash && first !== undefined && second !== undefined;
  }

  /** What kind of disk image lies at a path in a snapshot's folder: `layer` for a merged image too. */
  imageAt(path: string): 'writable' | 'layer' | undefined {
    const [kind, id, name, ...more] = relative(this.root, path).split(sep);
    if (kind !== names.snapshots || parseId(id) === undefined || name === undefined || more.length > 0)
      return undefined;
    if (name === names.writable) return 'writable';
    return name.endsWith('.erofs') ? 'layer' : undefined;
  }

  /** The snapshot in whose folder a file lies, when the path is spelled the way a Mounts answer spells it. */
  ownerOf(path: string): number | undefined {
    const parts = relative(this.snapshots, path).split(sep);
    const isFile = parts.length === 2 || (parts.length === 3 && parts[1] === names.overlaid);
    const id = isFile ? parseId(parts[0]) : undefined;
    return id !== undefined && join(this.snapshots, ...parts) === path ? id : undefined;
  }

  /** True for names that {@link trashed} gives. */
  isTrashName(name: string): boolean {
    const [id, attempt, ...more] = name.split('-');
    return parseId(id) !== undefined && /^\d+$/.test(attempt ?? '') && more.length === 0;
  }

  trashed(id: number, attempt: number): string {
    return join(this.trash, `${id}-${attempt}`);
  }

  /** True for the root itself and all below it, after `..` is resolved; symbolic links are not followed. */
  contains(path: string): boolean {
    const inside = relative(this.root, resolve(path));
    return inside === '' || (inside !== '..' && !inside.startsWith(`..${sep}`));
  }

  /** The id of the snapshot whose `fs/` this path is, or undefined when it is anything else. */
  idOfUpper(path: string): number | undefined {
    const parts = relative(this.snapshots, resolve(path)).split(sep);
    const [id, name] = parts;
    if (parts.length !== 2 || name !== names.upper) return undefined;
    return parseId(id);
  }
}

/** The id that a folder name states, or undefined when it is not one of ours. */
export function parseId(name: string | undefined): number | undefined {
  return name !== undefined && /^[1-9][0-9]{0,14}$/.test(name) ? Number(name) : undefined;
}
