import { CodedError } from '../errors.js';
import type { Labels } from '../vocabulary.js';

/** The longest key or name, in bytes of UTF-8. */
const longestKeyBytes = 4096;

/** The longest label, key and value together, in bytes of UTF-8: containerd's own limit. */
const longestLabelBytes = 4096;

/** All labels of a snapshot with their framing: gRPC's messages have 16 MiB at most, and name and parent go along. */
const mostLabelBytes = 15 * 1024 * 1024;

/** What the wire adds to a label at most: the tags and lengths of an entry, its key and its value. */
export const labelOverheadBytes = 10;

const nul = '\0';
const unpairedSurrogate = /\p{Cs}/u;

/**
 * Refuses a key, name or parent that the store cannot keep apart from others. Any other text is welcome: keys never
 * become paths, so `../../x` is a key like any other.
 *
 * @param what how the message calls it: "key", "name", "parent"
 * @throws CodedError `invalid-argument`
 */
export function checkKey(text: string, what: string): void {
  const bytes = Buffer.byteLength(text);
  if (bytes === 0) {
    throw new CodedError('invalid-argument', `the ${what} is empty`, { next: `give a ${what}` });
  }
  if (bytes > longestKeyBytes) {
    throw new CodedError('invalid-argument', `the ${what} ${abridged(text)} has ${bytes} bytes`, {
      facts: { bytes, limit: longestKeyBytes },
      next: `give a ${what} of at most ${longestKeyBytes} bytes`,
    });
  }
  if (text.includes(nul) || unpairedSurrogate.test(text)) {
    throw new CodedError('invalid-argument', `the ${what} ${abridged(text)} holds a character that no key can`, {
      next: 'leave out NUL and unpaired surrogates',
    });
  }
}

/**
 * containerd's rule for labels: a key that is not empty, and at most 4096 bytes for key and value together. All of them must fit into
 * one message, or no Stat or List could answer with them.
 *
 * @throws CodedError `invalid-argument` naming the label
 */
export function checkLabels(labels: Labels): void {
  let total = 0;
  for (const [key, value] of Object.entries(labels)) {
    if (key === '') {
      throw new CodedError('invalid-argument', 'a label has an empty key', { next: 'give every label a key' });
    }
    const bytes = Buffer.byteLength(key) + Buffer.byteLength(value);
    if (bytes > longestLabelBytes) {
      throw new CodedError('invalid-argument', `the label ${abridged(key)} has ${bytes} bytes with its value`, {
        facts: { label: key.slice(0, 64), bytes, limit: longestLabelBytes },
        next: `keep key and value together within ${longestLabelBytes} bytes`,
      });
    }
    if (unpairedSurrogate.test(key) || unpairedSurrogate.test(value)) {
      throw new CodedError('invalid-argument', `the label ${abridged(key)} holds an unpaired surrogate`, {
        facts: { label: key.slice(0, 64) },
        next: 'leave it out: it cannot be sent back',
      });
    }
    total += bytes + labelOverheadBytes;
  }
  if (total <= mostLabelBytes) return;
  throw new CodedError('invalid-argument', `the labels take ${total} bytes together`, {
    facts: { bytes: total, limit: mostLabelBytes },
    next: `keep them within ${mostLabelBytes} bytes`,
  });
}

/** A key as messages quote it: never longer than a line. */
export function abridged(text: string): string {
  return JSON.stringify(text.length <= 100 ? text : `${text.slice(0, 100)}…`);
}
