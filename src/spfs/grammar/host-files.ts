import { constants, type Stats } from 'node:fs';
import { open, realpath, stat, type FileHandle } from 'node:fs/promises';
import { errnoOf } from '../../errors.js';
import type { FileKind, SpecFiles } from './files.js';

/** The files of this machine. */
export function hostSpecFiles(cwd = process.cwd()): SpecFiles {
  return {
    cwd,
    stat: (path) =>
      orMissing(async () => {
        const found = await stat(path);
        return { kind: kindOf(found), size: found.size };
      }),
    // The promise API resolves as the kernel does; the callback one would cut `link/..` short first.
    realpath: (path) => orMissing(() => realpath(path)),
    read: readBeginning,
  };
}

async function orMissing<T>(work: () => Promise<T>): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

function kindOf(found: Stats): FileKind {
  if (found.isFile()) return 'file';
  if (found.isDirectory()) return 'directory';
  if (found.isFIFO()) return 'named pipe';
  if (found.isSocket()) return 'socket';
  if (found.isCharacterDevice()) return 'character device';
  return found.isBlockDevice() ? 'block device' : 'file of an unknown kind';
}

async function readBeginning(path: string, mostBytes: number): Promise<Uint8Array> {
  // Another file may have taken the path's place since its status was asked for: a pipe would block without O_NONBLOCK.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
  try {
    const kind = kindOf(await file.stat());
    if (kind !== 'file') throw new Error(`it is a ${kind}`);
    return await readAtMost(file, mostBytes);
  } finally {
    await file.close();
  }
}

async function readAtMost(file: FileHandle, mostBytes: number): Promise<Uint8Array> {
  const buffer = Buffer.alloc(mostBytes);
  let filled = 0;
  while (filled < mostBytes) {
    const { bytesRead } = await file.read(buffer, filled, mostBytes - filled, filled);
    if (bytesRead === 0) break;
    filled += bytesRead;
  }
  return buffer.subarray(0, filled);
}
