import { CodedError } from '../errors.js';

const units = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30, T: 2 ** 40 } as const;

/**
 * A size in bytes: `1048576`, `64M`, `64MB`, `10GiB`. Units are powers of 1024 in every spelling, as in Docker's and QEMU's
 * flags.
 *
 * @throws CodedError `invalid-argument` for anything else, fractions and signs too.
 */
export function parseSize(text: string): number {
  const match = /^(\d+)\s*(?:([KMGT])(?:iB|B)?|B)?$/i.exec(text.trim());
  const factor = match?.[2] === undefined ? 1 : units[match[2].toUpperCase() as keyof typeof units];
  const bytes = match === null ? Number.NaN : Number(match[1]) * factor;
  if (Number.isSafeInteger(bytes)) return bytes;
  throw new CodedError('invalid-argument', `${JSON.stringify(text)} is not a size`, {
    next: 'write a whole number of bytes, or one followed by K, M, G or T, as in 64M or 10GiB',
  });
}

/** The shortest exact spelling: `64 MiB`, `1000 bytes`. */
export function formatSize(bytes: number): string {
  for (const unit of ['T', 'G', 'M', 'K'] as const) {
    if (bytes >= units[unit] && bytes % units[unit] === 0) return `${bytes / units[unit]} ${unit}iB`;
  }
  return `${bytes} bytes`;
}
