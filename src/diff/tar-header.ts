import { SnapshotterError } from '../errors.js';

/** Bytes of a header, and what the size of each entry is rounded up to. */
export const blockSize = 512;

/** One header block. Names are byte strings (latin1), since a tar does not say how they are encoded. */
export interface TarHeader {
  readonly type: string;
  readonly name: string;
  readonly link: string;
  /** Bytes of data that follow, without padding. */
  readonly size: number;
}

/** @throws SnapshotterError `invalid-argument`, saying at which byte of the tar it is wrong */
export function parseHeader(block: Buffer, offset: number): TarHeader {
  if (!hasRightChecksum(block)) throw malformed('the header has a wrong checksum', offset);
  const magic = block.toString('latin1', 257, 265);
  if (!magic.startsWith('ustar')) {
    throw malformed('the header has no "ustar" magic', offset, 'write the layer in the pax, ustar or GNU format');
  }
  // GNU tar keeps access times of incremental dumps where ustar has the name's beginning; mkfs.erofs reads them as a name.
  if (magic === 'ustar  \0' && block[345] !== 0) {
    throw malformed('the header is of a GNU incremental dump', offset, 'write the layer without --listed-incremental');
  }
  const prefix = text(block, 345, 155);
  const name = text(block, 0, 100);
  return {
    type: block.toString('latin1', 156, 157),
    name: prefix === '' ? name : `${prefix}/${name}`,
    link: text(block, 157, 100),
    size: numberField(block, 124, 12, offset),
  };
}

export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.every((byte) => byte === 0);
}

export function malformed(problem: string, offset: number, next?: string): SnapshotterError {
  return new SnapshotterError('invalid-argument', `the layer's tar is malformed at byte ${offset}: ${problem}`, {
    facts: { tarOffset: offset },
    next: next ?? 'build the image again with another tool',
  });
}

/** A byte string as a person reads it. */
export function shown(bytes: string): string {
  const whole = Buffer.from(bytes, 'latin1').toString('utf8');
  return JSON.stringify(whole.length > 200 ? `${whole.slice(0, 200)}…` : whole);
}

/** The sum of all bytes, with the checksum's own eight taken as spaces; early archivers summed signed bytes. */
export function hasRightChecksum(block: Buffer): boolean {
  const stated = parseInt(text(block, 148, 8).trim(), 8);
  let unsigned = 8 * 0x20;
  let high = 0;
  for (let index = 0; index < blockSize; index++) {
    if (index >= 148 && index < 156) continue;
    const byte = block[index] ?? 0;
    unsigned += byte;
    if (byte > 127) high += 256;
  }
  return stated === unsigned || stated === unsigned - high;
}

function text(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString('latin1', start, end === -1 || end > start + length ? start + length : end);
}

/** Octal digits, or base 256 when the top bit of the first byte is set. */
function numberField(block: Buffer, start: number, length: number, offset: number): number {
  if (((block[start] ?? 0) & 0x80) !== 0) {
    const bytes = Buffer.from(block.subarray(start, start + length));
    bytes[0] = (bytes[0] ?? 0) & 0x7f;
    const value = bytes.reduce((sum, byte) => sum * 256 + byte, 0);
    if (((block[start] ?? 0) & 0x40) === 0 && Number.isSafeInteger(value)) return value;
    throw malformed('the entry states a size that is negative or too large', offset);
  }
  const digits = text(block, start, length).trim();
  if (/^[0-7]*$/.test(digits)) return digits === '' ? 0 : parseInt(digits, 8);
  throw malformed(`the entry's size ${shown(digits)} is not an octal number`, offset);
}
