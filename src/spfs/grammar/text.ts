import { isUtf8 } from 'node:buffer';
import { specError } from './fault.js';

const startsWith = (bytes: Uint8Array, ...first: readonly number[]) => first.every((byte, at) => bytes[at] === byte);

/**
 * The text of a spec file: UTF-8, of which a byte order mark is dropped. Control characters are refused, as YAML does.
 *
 * @throws CodedError `invalid-argument` with the line of what is no text
 */
export function decodeText(bytes: Uint8Array, file: string): string {
  if (startsWith(bytes, 0xff, 0xfe) || startsWith(bytes, 0xfe, 0xff)) {
    throw specError({ file, line: 1 }, 'this is UTF-16, not UTF-8', { next: 'save the file as UTF-8' });
  }
  if (!isUtf8(bytes)) {
    throw specError({ file, line: firstBrokenLine(bytes) }, 'this is not UTF-8', { next: 'save the file as UTF-8' });
  }
  const text = new TextDecoder().decode(bytes);
  // eslint-disable-next-line no-control-regex -- these are what it is about
  const control = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f]/.exec(text);
  if (control === null) return text;
  const before = text.slice(0, control.index).split('\n');
  const code = control[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, '0');
  const where = { file, line: before.length, column: (before.at(-1)?.length ?? 0) + 1 };
  throw specError(where, `the control character U+${code} is not allowed in YAML`, { next: 'remove it' });
}

/** No character of UTF-8 is torn apart where a line ends. */
function firstBrokenLine(bytes: Uint8Array): number | undefined {
  for (let line = 1, from = 0; from < bytes.length; line += 1) {
    const end = bytes.indexOf(0x0a, from);
    const to = end === -1 ? bytes.length : end + 1;
    if (!isUtf8(bytes.subarray(from, to))) return line;
    from = to;
  }
  return undefined;
}
