import { impliedFolder } from '../erofs/index.js';
import { blockSize } from './tar-header.js';

/** How many entries are built at once, so that memory stays flat. */
const batch = 1000;
/** Bytes of a name in a header. */
const nameSize = 100;
const markedTime = `${impliedFolder.mtime}.${String(impliedFolder.mtimeNsec).padStart(9, '0')}`;

/**
 * What a tar that leaves folders out is to end with, in pieces: entries that describe them as `impliedFolder`, for a later entry gives
 * a folder its attributes, and the end-of-archive blocks.
 *
 * @param missingFolders byte strings
 */
export function* endOfArchive(missingFolders: readonly string[]): Generator<Buffer> {
  for (let index = 0; index < missingFolders.length; index += batch) {
    yield Buffer.concat(missingFolders.slice(index, index + batch).map(folderEntry));
  }
  yield Buffer.alloc(2 * blockSize);
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
