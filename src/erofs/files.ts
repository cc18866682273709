import { mapOldestFirst, type OldestFirst, type RootAttributes } from '../vocabulary.js';
import { decodeAttributes } from './inode.js';
import { damaged, readSuperblockOf, withImage, type Superblock } from './superblock.js';
import { ImageTree, nodeSize, type Node } from './tree.js';

/** A layer, or a merged image with the layers that it refers to. */
export interface ErofsImage {
  readonly path: string;
  /** Empty for a layer. */
  readonly devices: OldestFirst<string>;
}

/** By the type bits of `st_mode`. */
const kinds = {
  0o010000: 'fifo',
  0o020000: 'character device',
  0o040000: 'directory',
  0o060000: 'block device',
  0o100000: 'file',
  0o120000: 'symlink',
  0o140000: 'socket',
} as const;

export type FileKind = (typeof kinds)[keyof typeof kinds];

/** What an image says about a file of any kind. */
export interface ErofsFile extends RootAttributes {
  /** The number of its inode. */
  readonly nid: number;
  readonly kind: FileKind;
  /** Bytes. */
  readonly size: number;
  readonly links: number;
  /** Of a device. */
  readonly device?: { readonly major: number; readonly minor: number };
}

/** Names are byte strings (latin1): what a file is called need not be text. */
export interface NamedFile {
  readonly name: string;
  readonly file: ErofsFile;
}

/**
 * The files of one image, without mounting it. Their contents are read by `writeContent`.
 *
 * Methods throw CodedError: `data-loss` when the metadata leads nowhere; `failed-precondition` for a directory or symlink in
 * a layout that mkfs.erofs gives none.
 */
export interface ErofsFiles {
  root(): ErofsFile;
  /** In the order of the names' bytes, without `.`, `..` and whiteouts. */
  list(directory: ErofsFile): readonly NamedFile[];
  /** A whiteout is not there. */
  find(directory: ErofsFile, name: string): ErofsFile | undefined;
  /** A byte string. */
  linkTarget(link: ErofsFile): string;
}

/** @throws CodedError as `readSuperblock` does. */
export async function readFiles<T>({ path }: ErofsImage, work: (files: ErofsFiles) => Promise<T> | T): Promise<T> {
  return withImage(path, 'r', async (file) => {
    const superblock = await readSuperblockOf(file, path);
    return work(filesOf(new ImageTree(file, path, superblock), path, superblock));
  });
}

function filesOf(tree: ImageTree, path: string, superblock: Superblock): ErofsFiles {
  const fileAt = (nid: number) => describe(tree.node(nid), nid, path, superblock);
  const visible = (nid: number) => {
    const file = fileAt(nid);
    return isWhiteout(file) ? undefined : file;
  };
  return {
    root: () => fileAt(tree.rootNid),
    list: ({ nid }) =>
      [...tree.entries(tree.node(nid))].flatMap((entry) => {
        const file = visible(entry.nid);
        return file === undefined ? [] : [{ name: entry.name, file }];
      }),
    find: ({ nid }, name) => {
      const entry = tree.entry(tree.node(nid), name);
      return entry && visible(entry.nid);
    },
    linkTarget: ({ nid }) => tree.shortContent(tree.node(nid)).toString('latin1'),
  };
}

/** Offsets of `struct erofs_inode_compact` and `struct erofs_inode_extended` (Linux 6.18). */
function describe(node: Node, nid: number, path: string, superblock: Superblock): ErofsFile {
  const { inode, extended } = node;
  const mode = inode.readUInt16LE(4);
  const kind = (kinds as Partial<Record<number, FileKind>>)[mode & 0o170000];
  if (kind === undefined) throw damaged(path, `the mode of inode ${nid} in it is 0${mode.toString(8)}`);
  const isDevice = kind === 'character device' || kind === 'block device';
  return {
    nid,
    kind,
    size: nodeSize(node),
    links: extended ? inode.readUInt32LE(44) : inode.readUInt16LE(6),
    ...decodeAttributes(inode, extended, superblock),
    ...(isDevice ? { device: decodeDevice(inode.readUInt32LE(16)) } : {}),
  };
}

/** The kernel's `new_decode_dev`. */
function decodeDevice(encoded: number): { major: number; minor: number } {
  return { major: (encoded >>> 8) & 0xfff, minor: (encoded & 0xff) | ((encoded >>> 12) & 0xfff00) };
}

function isWhiteout({ kind, device }: ErofsFile): boolean {
  return kind === 'character device' && device?.major === 0 && device.minor === 0;
}

/** The arguments that name an image to a tool of erofs-utils. */
export function imageArguments({ path, devices }: ErofsImage): readonly string[] {
  return [...mapOldestFirst(devices, (device) => `--device=${device}`), path];
}
