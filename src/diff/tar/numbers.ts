const space = 0x20;

/**
 * A number as Go's archive/tar reads it: octal digits between spaces and zeros, nothing at all for 0, or base 256 in two's complement
 * when the top bit of the first byte is set. Undefined when it is none, or has more than 64 bits.
 */
export function integer(block: Buffer, start: number, length: number): number | bigint | undefined {
  if (((block[start] ?? 0) & 0x80) !== 0) return base256(block.subarray(start, start + length));
  let at = start;
  let end = start + length;
  while (at < end && isBlank(block[at])) at += 1;
  while (end > at && isBlank(block[end - 1])) end -= 1;
  let value = 0;
  for (; at < end; at += 1) {
    const byte = block[at] ?? 0;
    if (byte === 0) break;
    if (byte < 0x30 || byte > 0x37) return undefined;
    value = value * 8 + byte - 0x30;
  }
  return value;
}

function isBlank(byte: number | undefined): boolean {
  return byte === space || byte === 0;
}

function base256(bytes: Buffer): bigint | undefined {
  // The top bit only says that this is base 256; the next one is the sign.
  const negative = ((bytes[0] ?? 0) & 0x40) !== 0;
  let value = BigInt(negative ? (bytes[0] ?? 0) | 0x80 : (bytes[0] ?? 0) & 0x7f);
  for (const byte of bytes.subarray(1)) value = value * 256n + BigInt(byte);
  if (negative) value -= 1n << BigInt(8 * bytes.length);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

/** A decimal number of at most 64 bits with an optional sign, as Go's ParseInt reads it. */
export function decimal(digits: string): number | undefined {
  if (!/^[+-]?[0-9]+$/.test(digits)) return undefined;
  if (digits.length <= 15) return Number(digits);
  const value = BigInt(digits.startsWith('+') ? digits.slice(1) : digits);
  return BigInt.asIntN(64, value) === value ? Number(value) : undefined;
}
