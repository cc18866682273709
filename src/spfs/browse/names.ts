/*
 * Names in an image are byte strings. Inside of this room they are kept as latin1: one character a byte.
 */

/** The bytes of what a person wrote. */
export function bytesOf(text: string): string {
  return Buffer.from(text, 'utf8').toString('latin1');
}

/** A byte string as text; undefined when it is not UTF-8. */
function textOf(name: string): string | undefined {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.from(name, 'latin1'));
  } catch {
    return undefined;
  }
}

/** What would end a line, move the cursor or hide what follows. */
const unprintable = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/u;

/**
 * A byte string on one line: as it is, or where it has control characters or is not UTF-8, in the quotes `$'…'` of the shells, so
 * that no two names look the same and each can be given to a command again.
 */
export function printableName(name: string): string {
  const text = textOf(name);
  if (text !== undefined && !unprintable.test(text) && !text.startsWith("$'")) return text;
  return `$'${Array.from(name, quotedByte).join('')}'`;
}

function quotedByte(byte: string): string {
  if (byte === '\n') return '\\n';
  if (byte === '\t') return '\\t';
  if (byte === "'" || byte === '\\') return `\\${byte}`;
  return byte >= ' ' && byte <= '~' ? byte : `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`;
}
