import type { Attributes } from './writer.js';
import type { Xattrs } from './xattrs.js';

/** What one layer makes of its names, as containerd's overlayfs snapshotter unpacks it. */
export type Node = Folder | Leaf | Whiteout;

/** A name that the layer takes away from older ones: overlayfs' character device 0/0. */
export interface Whiteout {
  readonly kind: 'whiteout';
}

export const whiteout: Whiteout = { kind: 'whiteout' };

/** A folder that nothing describes yet is 0755 of root's; see docs/decisions/0010-implied-directories.md. */
export const plainFolder: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0, mtimeNsec: 0 };

export interface Folder {
  readonly kind: 'folder';
  children: Map<string, Node> | undefined;
  /** Whether an entry describes it, or entries below it alone imply it. */
  described: boolean;
  attributes: Attributes;
  xattrs: Xattrs | undefined;
  /** Hides what older layers have in it. */
  opaque: boolean;
  /** Stands in the place of something else, so that it is another folder than the one of that name in older layers. */
  anew: boolean;
  /** Has whiteouts in it. */
  whiteouts: boolean;
  /** What of it was handed on. */
  told: { readonly itself: boolean; readonly opaque: boolean; readonly whiteouts: boolean };
}

export const untold = { itself: false, opaque: false, whiteouts: false };

export function newFolder(): Folder {
  return {
    kind: 'folder',
    children: undefined,
    described: false,
    attributes: plainFolder,
    xattrs: undefined,
    opaque: false,
    anew: false,
    whiteouts: false,
    told: untold,
  };
}

/** Whatever is no folder. Names that are hard links of each other share it. */
export interface Leaf {
  readonly kind: 'leaf';
  readonly type: string;
  /** The place in the tar of the entry that has its content, counted from 0. */
  readonly entry: number;
  /** Bytes of a file. */
  readonly size: number;
  /** Of a symlink. */
  readonly target: string;
  attributes: Attributes;
  /** Those that hard links brought, beyond those of its own entry. */
  linkXattrs: Xattrs | undefined;
}
