/*
 * Tar archives with control over every byte, so that a test can also write what no archiver would. Text is latin1 throughout:
 * one character, one byte. The formats: POSIX.1-2017 (pax interchange format, ustar), and the GNU tar manual for `L` and `K`.
 */

/** A field of a header: a number, written in octal or, where it does not fit, in base 256; or its bytes. */
type Field = number | string;

export interface Header {
  readonly name: string;
  /** One character; a folder is `5`, a file `0`. */
  readonly type?: string;
  readonly mode?: Field;
  readonly uid?: Field;
  readonly gid?: Field;
  readonly size?: Field;
  readonly mtime?: Field;
  readonly link?: string;
  /** Eight bytes, magic and version together. */
  readonly magic?: string;
  readonly major?: Field;
  readonly minor?: Field;
  readonly prefix?: string;
  /** Bytes to put at an offset, after everything else and before the checksum. */
  readonly raw?: Readonly<Record<number, string>>;
}

export const magics = { ustar: 'ustar\x0000', gnu: 'ustar  \0', v7: '\0'.repeat(8) } as const;

const block = 512;

export function bytes(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** The 512 bytes, with their checksum. */
export function header(h: Header): Buffer {
  const buffer = Buffer.alloc(block);
  const text = (value: string, offset: number, width: number) => buffer.write(value.slice(0, width), offset, 'latin1');
  text(h.name, 0, 100);
  text(field(h.mode ?? 0o644, 8), 100, 8);
  text(field(h.uid ?? 0, 8), 108, 8);
  text(field(h.gid ?? 0, 8), 116, 8);
  text(field(h.size ?? 0, 12), 124, 12);
  text(field(h.mtime ?? 0, 12), 136, 12);
  text(h.type ?? '0', 156, 1);
  text(h.link ?? '', 157, 100);
  text(h.magic ?? magics.ustar, 257, 8);
  text(field(h.major ?? 0, 8), 329, 8);
  text(field(h.minor ?? 0, 8), 337, 8);
  text(h.prefix ?? '', 345, 155);
  for (const [offset, value] of Object.entries(h.raw ?? {})) buffer.write(value, Number(offset), 'latin1');
  buffer.write(' '.repeat(8), 148, 'latin1');
  const sum = buffer.reduce((total, byte) => total + byte, 0);
  buffer.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1');
  return buffer;
}

function field(value: Field, width: number): string {
  if (typeof value === 'string') return value;
  if (value >= 0 && value < 8 ** (width - 1)) return `${value.toString(8).padStart(width - 1, '0')}\0`;
  const digits = Buffer.alloc(width);
  let rest = BigInt.asUintN(8 * width, BigInt(value));
  for (let index = width - 1; index >= 0; index -= 1) {
    digits[index] = Number(rest & 0xffn);
    rest >>= 8n;
  }
  digits[0] = digits[0]! | 0x80;
  return digits.toString('latin1');
}

export function padded(data: string): Buffer {
  return bytes(data + '\0'.repeat((block - (data.length % block)) % block));
}

/** A header and its content; the size is that of the content unless the header states another. */
export function entry(h: Header, data = ''): Buffer {
  return Buffer.concat([header({ size: data.length, ...h }), padded(data)]);
}

export type PaxRecords = readonly (readonly [key: string, value: string])[];

/** `<length> <key>=<value>\n`, where the length counts its own digits. */
function record(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}

export function pax(records: PaxRecords, type = 'x'): Buffer {
  return paxText(records.map(([key, value]) => record(key, value)).join(''), type);
}

/** An extended header whose records are given as they shall stand there. */
export function paxText(text: string, type = 'x'): Buffer {
  return entry({ name: 'PaxHeaders/x', type }, text);
}

/** A name (`L`) or link target (`K`) that does not fit its header, as GNU tar writes it. */
export function gnuLong(type: 'L' | 'K', text: string): Buffer {
  return entry({ name: '././@LongLink', type, magic: magics.gnu }, `${text}\0`);
}

export function archive(...parts: readonly Uint8Array[]): Buffer {
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}
