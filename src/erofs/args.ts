import type { OldestFirst } from '../vocabulary.js';
import { blockSize } from './superblock.js';

/**
 * Options of every image: blocks of 4096 bytes on every machine (the tool's own default is the page size), and no clock: the
 * build time is 0 and files keep their own times.
 */
const reproducible = [`-b${blockSize}`, '-T0', '--mkfs-time'];

/** Merging refers to file data by whole blocks, so none may lie beside its inode. Uncompressed for the same reason. */
const mergeable = ['-Enoinline_data'];

const provisionalUuid = '00000000-0000-0000-0000-000000000000';

/**
 * Arguments that turn a tar into an image. Whiteouts in it are overlay's own (a `.wh.` is part of a name like any other). Without `tar`
 * the tool reads its standard input.
 */
export function convertTarArguments(o: { output: string; uuid: string; tar?: string }): string[] {
  const formats = ['--tar=f', '--quiet', '--sort=none'];
  return [...formats, ...reproducible, ...mergeable, '-U', o.uuid, o.output, ...(o.tar === undefined ? [] : [o.tar])];
}

/** Chunks of 64 KiB: those that are holes are not written, and the others are, once each. */
const inChunks = ['--chunksize=65536'];

/** Arguments that turn a directory into an image: overlay's own whiteouts stay as they are, so `--aufs` has no place here. */
export function convertDirectoryArguments(o: {
  output: string;
  uuid: string;
  directory: string;
  chunks?: boolean;
}): string[] {
  const chunks = o.chunks === true ? inChunks : [];
  return ['--quiet', ...reproducible, ...mergeable, ...chunks, '-U', o.uuid, o.output, o.directory];
}

/**
 * Arguments that merge layers into one image of metadata. Whiteouts are resolved and stripped, since a mount of the merged
 * image alone would show them as devices. Extended inodes have room for any owner and time that is written into them later. So is the
 * UUID, which comes from the layers: until it is written it is zero. `rootXattrBytes`: room for the root's xattrs, which the tool does
 * not take over itself.
 */
export function mergeArguments(o: { output: string; layers: OldestFirst<string>; rootXattrBytes?: number }): string[] {
  const formats = ['--quiet', '--aufs', '--ovlfs-strip=1', ...reproducible, '-Eforce-inode-extended'];
  const room = o.rootXattrBytes ? [`--root-xattr-isize=${o.rootXattrBytes}`] : [];
  return [...formats, ...room, '-U', provisionalUuid, o.output, ...o.layers];
}
