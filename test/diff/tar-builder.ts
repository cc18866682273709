/**
 * Tar archives made by hand, so that a test can also write what no archiver would.
 * The format: POSIX.1-2017 pax interchange format, and the GNU tar manual for the `L`, `K` and `S` types.
 */
export interface Entry {
  readonly name: string;
  /** One character: `0` file, `1` hard link, `2` symlink, `3` char device, `4` block device, `5` folder, `6` fifo. */
  readonly type?: string;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  /** Seconds since the epoch; a negative one is written in base 256. */
  readonly mtime?: number;
  readonly link?: string;
  readonly major?: number;
  readonly minor?: number;
  readonly data?: Uint8Array | string;
  /** The size that the header states, when it lies. */
  readonly size?: number;
  readonly pax?: Readonly<Record<string, string | Uint8Array>>;
}

/** An archive of these entries with the two zero blocks that end it. */
export function tar(...entries: readonly Entry[]): Buffer {
  return Buffer.concat([...entries.map(tarEntry), endOfArchive]);
}

export const endOfArchive = Buffer.alloc(1024);

export function tarEntry(entry: Entry): Buffer {
  const data = Buffer.from(entry.data ?? '');
  const parts = [tarHeader(entry, entry.size ?? data.length), padded(data)];
  if (entry.pax) parts.unshift(paxHeader(entry.pax));
  return Buffer.concat(parts);
}

/** A file or a link target whose name does not fit its header, the way GNU tar writes it. */
export function gnuLong(type: 'L' | 'K', text: string): Buffer {
  return tarEntry({ name: '././@LongLink', type, data: `${text}\0` });
}

export function paxHeader(records: Readonly<Record<string, string | Uint8Array>>, type = 'x'): Buffer {
  const lines = Object.entries(records).map(([key, value]) => paxRecord(key, Buffer.from(value)));
  return tarEntry({ name: 'PaxHeaders/entry', type, data: Buffer.concat(lines) });
}

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
function paxRecord(key: string, value: Buffer): Buffer {
  const rest = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return Buffer.concat([Buffer.from(String(length)), rest]);
}

/** The 512 bytes alone. */
export function tarHeader(entry: Entry, size: number): Buffer {
  const header = Buffer.alloc(512);
  header.write(entry.name, 0, 100, 'utf8');
  putNumber(header, 100, 8, entry.mode ?? (entry.type === '5' ? 0o755 : 0o644));
  putNumber(header, 108, 8, entry.uid ?? 0);
  putNumber(header, 116, 8, entry.gid ?? 0);
  putNumber(header, 124, 12, size);
  putNumber(header, 136, 12, entry.mtime ?? 1_700_000_000);
  header.write(entry.type ?? '0', 156, 1, 'latin1');
  header.write(entry.link ?? '', 157, 100, 'utf8');
  header.write('ustar\u000000', 257, 8, 'latin1');
  putNumber(header, 329, 8, entry.major ?? 0);
  putNumber(header, 337, 8, entry.minor ?? 0);
  return withChecksum(header);
}

/** Octal where it fits, else GNU's base 256 (two's complement with the top bit set). */
function putNumber(header: Buffer, offset: number, length: number, value: number): void {
  if (value >= 0 && value < 8 ** (length - 1)) {
    header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, offset, length, 'latin1');
    return;
  }
  let rest = BigInt(value);
  for (let index = offset + length - 1; index >= offset; index--) {
    header[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  header[offset] = (header[offset] ?? 0) | 0x80;
}

export function withChecksum(header: Buffer): Buffer {
  header.fill(0x20, 148, 156);
  const sum = header.reduce((total, byte) => total + byte, 0);
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 8, 'latin1');
  return header;
}

function padded(data: Buffer): Buffer {
  return Buffer.concat([data, Buffer.alloc((512 - (data.length % 512)) % 512)]);
}
