import { damaged, type Superblock } from './superblock.js';
import { longPrefix } from './xattrs.js';
import { chunkBased, flatInline, flatPlain, nodeLayout, nodeSize, type ImageTree, type Node } from './tree.js';

/** Bits of `chunk_info.format` (Linux 6.18): blocks of a chunk as a power of two, and indexes of 8 bytes instead of 4. */
const chunkBitsMask = 0x1f;
const chunkIndexes = 0x20;
/** The first block of a chunk that is a hole. */
const hole = 0xffff_ffff;
const longestTarget = 4096;

const trustedPrefix = 4;
/** Notes by which overlay looks elsewhere for a name or for content, and takes a file for a whiteout (Linux, overlayfs.rst). */
const looksElsewhere = /^overlay\.(redirect|metacopy|whiteout)$/;

const typeMask = 0o170000;
const directoryMode = 0o040000;
const fileMode = 0o100000;
const symlinkMode = 0o120000;

/**
 * mkfs.erofs up to 1.9.4 counts the bytes of a file that it merges in 32 bits where the file has several chunks, so that what lies beyond
 * 4 GiB becomes what lies at its beginning (`erofs_rebuild_write_blob_index`).
 */
const mergedWronglyFrom = 2 ** 32;

export interface NodeFindings {
  /** Whether mkfs.erofs up to 1.9.4 merges the file wrongly. */
  readonly mergesWrongly: boolean;
  /** Bytes of the image that say where the file's chunks are. */
  readonly indexBytes: number;
}

/**
 * Checks what an inode says of its data and its xattrs: all lies in the image, is of a form that is known, and means the same to
 * overlay as to a merge. What compressed files hold is not looked at: mkfs.erofs merges none.
 *
 * @throws CodedError `data-loss`
 */
export function checkNode(tree: ImageTree, node: Node, path: string, superblock: Superblock): NodeFindings {
  const type = node.inode.readUInt16LE(4) & typeMask;
  checkNotes(tree, node, type, path);
  const nothing = { mergesWrongly: false, indexBytes: 0 };
  if (type !== directoryMode && type !== fileMode && type !== symlinkMode) return nothing;
  const size = nodeSize(node);
  const layout = nodeLayout(node);
  if (type === symlinkMode && (size === 0 || size > longestTarget)) {
    throw damaged(path, `a symlink in it is ${size} bytes long`);
  }
  if (size > 2 ** 52) throw damaged(path, `a file in it is ${size} bytes long`);
  if (layout === flatPlain || layout === flatInline) checkFlat(node, size, path, superblock);
  else if (layout === chunkBased && type === fileMode) return checkChunks(tree, node, size, path, superblock);
  else if (layout > chunkBased || type !== fileMode) throw damaged(path, `an inode in it has the layout ${layout}`);
  return nothing;
}

function checkNotes(tree: ImageTree, node: Node, type: number, path: string): void {
  for (const xattr of tree.xattrs(node)) {
    const { prefix, name } = xattr;
    if ((prefix & longPrefix) !== 0) {
      throw damaged(
        path,
        'an xattr in it has a prefix of its own (--xattr-prefix), so that not all readers know its name',
      );
    }
    if (prefix !== trustedPrefix) continue;
    if (looksElsewhere.test(name)) throw damaged(path, `something in it refers to another layer by trusted.${name}`);
    // Whatever its value, mkfs.erofs up to 1.9.4 takes it for opaque (`erofs_get_opaque_from_disk`), and overlay only "y".
    if (type === directoryMode && name === 'overlay.opaque' && tree.xattrValue(xattr).toString('latin1') !== 'y') {
      throw damaged(path, `a folder in it has a trusted.${name} other than "y"`);
    }
  }
}

function checkFlat(node: Node, size: number, path: string, { blockSize, blocks }: Superblock): void {
  const tail = nodeLayout(node) === flatInline ? size % blockSize : 0;
  const whole = Math.ceil((size - tail) / blockSize);
  const first = node.inode.readUInt32LE(16);
  if (whole > 0 && first + whole > blocks)
    throw damaged(path, `data in it is at block ${first + whole}, beyond its end`);
  const start = node.xattrs.start + node.xattrs.length;
  if (tail > 0 && Math.floor(start / blockSize) !== Math.floor((start + tail - 1) / blockSize)) {
    throw damaged(path, 'what lies beside an inode in it does not lie in one block');
  }
}

function checkChunks(
  tree: ImageTree,
  node: Node,
  size: number,
  path: string,
  { blockSize, blocks }: Superblock,
): NodeFindings {
  const format = node.inode.readUInt16LE(16);
  if ((format & ~(chunkBitsMask | chunkIndexes)) !== 0)
    throw damaged(path, `a file in it has chunks of form ${format}`);
  const unit = (format & chunkIndexes) === 0 ? 4 : 8;
  const chunkBytes = blockSize * 2 ** (format & chunkBitsMask);
  const count = Math.ceil(size / chunkBytes);
  const start = Math.ceil((node.xattrs.start + node.xattrs.length) / unit) * unit;
  if (start + count * unit > blocks * blockSize)
    throw damaged(path, `a file of ${size} bytes in it has too many chunks`);
  for (let index = 0; index < count; index += 1) {
    const entry = tree.bytesAt(start + index * unit, unit);
    const first = entry.readUInt32LE(unit - 4);
    if (first === hole) continue;
    const bytes = Math.min(chunkBytes, size - index * chunkBytes);
    if (unit === 8 && entry.readUInt16LE(2) !== 0) throw damaged(path, 'a chunk in it lies in another image');
    if (first + Math.ceil(bytes / blockSize) > blocks) throw damaged(path, 'a chunk in it lies beyond its end');
  }
  return { mergesWrongly: count > 1 && size > mergedWronglyFrom, indexBytes: count * unit };
}
