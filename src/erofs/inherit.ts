import { writeSync } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';
import { CodedError } from '../errors.js';
import type { RootAttributes } from '../vocabulary.js';
import type { Corrections } from './corrections.js';
import { xattrBody } from './inlay.js';
import { withAttributes } from './inode.js';
import { damaged, type Superblock } from './superblock.js';
import { ImageTree, type Directory } from './tree.js';

/** A merged image that is open for writing. */
interface OpenImage {
  readonly file: FileHandle;
  readonly path: string;
  readonly superblock: Superblock;
}

/**
 * Gives the directories of a merged image what they inherit from the layers. The checksum has to be renewed afterwards.
 *
 * @throws CodedError `data-loss` when the image is damaged; `internal` when it is not what the layers make
 */
export function inherit(image: OpenImage, { root, directories }: Pick<Corrections, 'root' | 'directories'>): void {
  const merged = new ImageTree(image.file, image.path, image.superblock);
  write(image, merged.root(), root.attributes);
  writeXattrs(image, merged.root(), root.xattrs);
  const pending = [{ directory: merged.root(), below: directories }];
  for (let parent = pending.pop(); parent !== undefined; parent = pending.pop()) {
    for (const { name, attributes, below } of parent.below) {
      const directory = merged.find(parent.directory, name);
      if (directory === undefined || directory === 'other') throw unexpected(image.path, name);
      if (attributes) write(image, directory, attributes);
      pending.push({ directory, below });
    }
  }
}

function write(image: OpenImage, directory: Directory, attributes: RootAttributes): void {
  if (!directory.extended) {
    // Images are merged with extended inodes, so this is a tool that did not do as it was told.
    throw tooSmall(image.path, 'owner and time');
  }
  writeBytes(image, withAttributes(directory.inode, attributes), directory.offset);
}

/** Into the room that mkfs.erofs was told to leave. */
function writeXattrs(image: OpenImage, root: Directory, xattrs: readonly Buffer[]): void {
  const body = xattrBody(xattrs);
  if (root.xattrs.length !== body.length) throw tooSmall(image.path, 'xattrs');
  if (body.length > 0) writeBytes(image, body, root.xattrs.start);
}

/** Synchronous, since a way through the thread pool takes longer than writing so little to the page cache. */
function writeBytes({ file, path }: OpenImage, bytes: Buffer, offset: number): void {
  const written = writeSync(file.fd, bytes, 0, bytes.length, offset);
  if (written < bytes.length) throw damaged(path, `only ${written} bytes of an inode could be written`);
}

function tooSmall(path: string, what: string): CodedError {
  return new CodedError('internal', `a directory's inode in ${path} is too small for its ${what}`, {
    facts: { path },
  });
}

function unexpected(image: string, name: string): CodedError {
  const shown = JSON.stringify(Buffer.from(name, 'latin1').toString('utf8'));
  return new CodedError('internal', `mkfs.erofs left the directory ${shown} out of the merged image ${image}`, {
    facts: { path: image },
  });
}
