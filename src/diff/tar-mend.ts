import { open, type FileHandle } from 'node:fs/promises';
import { impliedFolder } from '../erofs/index.js';
import { blockSize } from './tar-header.js';
import type { TarFindings } from './tar-check.js';

/** How many entries are built at once, so that memory stays flat. */
const batch = 1000;
/** Bytes of a name in a header. */
const nameSize = 100;
const markedTime = `${impliedFolder.mtime}.${String(impliedFolder.mtimeNsec).padStart(9, '0')}`;

/**
 * Describes the folders that the tar leaves out as `impliedFolder`, in place of its end-of-archive blocks: a later entry for a
 * folder gives it its attributes. Only for a temporary copy whose digest has been taken already.
 */
export async function describeMissingFolders(path: string, { end, missingFolders }: TarFindings): Promise<void> {
  const file = await open(path, 'r+');
  try {
    await file.truncate(end);
    let at = end;
    for (let index = 0; index < missingFolders.length; index += batch) {
      const entries = Buffer.concat(missingFolders.slice(index, index + batch).map(folderEntry));
      at += await writeAll(file, entries, at);
    }
    await writeAll(file, Buffer.alloc(2 * blockSize), at);
  } finally {
    await file.close();
  }
}

/** Bytes by which `describeMissingFolders` lets the tar grow, at most. */
export function mendingBytes({ missingFolders }: Pick<TarFindings, 'missingFolders'>): number {
  if (missingFolders.length === 0) return 0;
  return missingFolders.reduce((sum, folder) => sum + 2 * blockSize + padded(recordsOf(folder).length), 2 * blockSize);
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number): Promise<number> {
  for (let at = 0; at < bytes.length;) {
    at += (await file.write(bytes, at, bytes.length - at, position + at)).bytesWritten;
  }
  return bytes.length;
}

/** @param folder a byte string. */
function folderEntry(folder: string): Buffer {
  const records = recordsOf(folder);
  const body = Buffer.alloc(padded(records.length));
  body.write(records, 'latin1');
  return Buffer.concat([header('', 'x', records.length), body, header(`${folder}/`, '5', 0)]);
}

function recordsOf(folder: string): string {
  const name = `${folder}/`;
  return paxRecord('mtime', markedTime) + (name.length <= nameSize ? '' : paxRecord('path', name));
}

function padded(bytes: number): number {
  return Math.ceil(bytes / blockSize) * blockSize;
}

/** `<length> <key>=<value>\n`, where the length counts its own digits (POSIX.1-2017, pax interchange format). */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  const digits = String(rest.length + String(rest.length).length).length;
  return `${rest.length + digits}${rest}`;
}

/** A ustar header of root's; its name is cut off where it does not fit. */
function header(name: string, type: string, size: number): Buffer {
  const block = Buffer.alloc(blockSize);
  block.write(name, 0, nameSize, 'latin1');
  block.write(`${impliedFolder.mode.toString(8).padStart(7, '0')}\0` + '0000000\0' + '0000000\0', 100, 'latin1');
  block.write(`${size.toString(8).padStart(11, '0')}\0${'0'.repeat(11)}\0`, 124, 'latin1');
  block.write(' '.repeat(8) + type, 148, 'latin1');
  block.write('ustar\0' + '00', 257, 'latin1');
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return block;
}
