import { CodedError } from '../../errors.js';
import { integer } from './numbers.js';

/** Bytes of a header, and what the data of each entry is rounded up to. */
export const blockSize = 512;

export function padded(bytes: number): number {
  return Math.ceil(bytes / blockSize) * blockSize;
}

export function isZeroBlock(block: Buffer): boolean {
  return block[0] === 0 && block.every((byte) => byte === 0);
}

/** @param offset of the entry's header, in bytes from the start of the tar */
export function malformed(problem: string, offset: number, next?: string): CodedError {
  return new CodedError('invalid-argument', `the layer's tar is malformed at byte ${offset}: ${problem}`, {
    facts: { tarOffset: offset },
    next: next ?? 'build the image again with another tool',
  });
}

/** A byte string (latin1) as a person reads it. */
export function shown(bytes: string): string {
  const whole = Buffer.from(bytes, 'latin1').toString('utf8');
  return JSON.stringify(whole.length > 200 ? `${whole.slice(0, 200)}…` : whole);
}

/** Bytes up to the first zero, as a byte string. */
export function text(block: Buffer, start: number, length: number): string {
  const end = block.indexOf(0, start);
  return block.toString('latin1', start, end === -1 || end > start + length ? start + length : end);
}

/** The sum of all bytes, with the checksum's own eight taken as spaces; early archivers summed signed bytes. */
export function hasRightChecksum(block: Buffer): boolean {
  const stated = integer(block, 148, 8);
  if (stated === undefined) return false;
  const sum = checksumOf(block);
  if (Number(stated) === sum) return true;
  let high = 0;
  block.forEach((byte, index) => (high += index >= 148 && index < 156 ? 0 : byte >> 7));
  return Number(stated) === sum - 256 * high;
}

/** Four bytes at a time: a layer of many small files is mostly headers, and each is summed twice, as it came and as it is handed on. */
export function checksumOf(block: Buffer): number {
  // Those that come in parts may begin anywhere.
  const aligned = block.byteOffset % 4 === 0 ? block : Buffer.from(new Uint8Array(block).buffer);
  const words = new Int32Array(aligned.buffer, aligned.byteOffset, blockSize / 4);
  // Two sums in each number, of at most 128 bytes each.
  let even = 0;
  let odd = 0;
  for (let index = 0; index < words.length; index++) {
    const word = index === 37 || index === 38 ? 0x20202020 : (words[index] ?? 0);
    even += word & 0xff00ff;
    odd += (word >>> 8) & 0xff00ff;
  }
  return (even & 0xffff) + (even >>> 16) + (odd & 0xffff) + (odd >>> 16);
}
