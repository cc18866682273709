import { hexOf, isDigest, type Digest } from '../vocabulary.js';

/*
 * An spfs digest is the 32 bytes of a SHA-256 in base32 (RFC 4648, section 6: upper case, padded): 51 characters of 5 bits, one
 * that carries the last bit, and four of padding.
 */

const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const padding = '====';
const fullBody = 52;
const shortLength = 8;

/** The 56 characters of a digest, padding included. */
export function toBase32(digest: Digest): string {
  // 256 bits and four zero bits make 52 digits of base 32, which JavaScript spells 0-9a-v.
  const digits = (BigInt(`0x${hexOf(digest)}`) << 4n).toString(32).padStart(fullBody, '0');
  return Array.from(digits, (digit) => alphabet[parseInt(digit, 32)]).join('') + padding;
}

/** The beginning of a digest that people are shown: 8 characters. */
export function shortForm(digest: Digest): string {
  return toBase32(digest).slice(0, shortLength);
}

/** Reads either spelling, base32 with or without its padding or `sha256:` and hex; undefined for anything else. */
export function parseSpfsDigest(text: string): Digest | undefined {
  if (isDigest(text)) return text;
  if (!/^[A-Z2-7]{51}[AQ](={4})?$/.test(text)) return undefined; // the last one carries one bit: 0 is A, 1 is Q
  const bits = Array.from(text.slice(0, fullBody), (letter) => alphabet.indexOf(letter).toString(2).padStart(5, '0'));
  const hex = (BigInt(`0b${bits.join('')}`) >> 4n).toString(16).padStart(64, '0');
  return `sha256:${hex}`;
}

/** Whether a text could be the beginning of a base32 digest: 1 to 51 characters of its alphabet; padding may follow. */
export function isPartialDigest(text: string): boolean {
  return /^[A-Z2-7]{1,51}={0,6}$/.test(text);
}

/** What is wrong with a text that can only be meant as a digest. */
export interface DigestMistake {
  readonly what: string;
  readonly next: string;
}

/**
 * Looks for a digest that is not spelt as it must be: in lower case, with some of its padding, cut off. A text that could as well be
 * the name of a tag is none; undefined then, and for a right one.
 */
export function digestMistake(text: string): DigestMistake | undefined {
  if (parseSpfsDigest(text) !== undefined || isPartialDigest(text)) return undefined;
  return /^sha256:/i.test(text) ? hexMistake(text) : base32Mistake(text);
}

function hexMistake(text: string): DigestMistake {
  const lower = text.toLowerCase();
  if (isDigest(lower)) return { what: 'this digest is not in lower case', next: `write ${lower}` };
  const hex = lower.slice('sha256:'.length);
  const next = 'write "sha256:" and 64 hex digits, or a digest or its beginning in base32';
  if (!/^[0-9a-f]*$/.test(hex)) return { what: 'this digest has characters that are no hex digits', next };
  return { what: `this digest has ${hex.length} hex digits, not 64`, next };
}

function base32Mistake(text: string): DigestMistake | undefined {
  const [, body = '', padded = ''] = /^([A-Za-z0-9]+)(=*)$/.exec(text) ?? [];
  // No tag is meant by 52 characters that are exactly a digest's; anything with padding is no tag at all.
  const meant = padded === '' ? /^[A-Za-z2-7]{51}[AQaq]$/.test(body) : body !== '';
  if (!meant) return undefined;
  const whole = 'a digest in base32 has 52 characters A-Z and 2-7, then "===="';
  if (/[0189]/.test(body)) return { what: 'base32 has no 0, 1, 8 and 9', next: whole };
  if (body.length > fullBody) return { what: `this digest has ${body.length} characters, not 52`, next: whole };
  const upper = body.toUpperCase();
  const right = body.length === fullBody ? upper + padding : upper;
  if (body.length === fullBody && parseSpfsDigest(right) === undefined) {
    return {
      what: 'this is no SHA-256 in base32, whose last character is A or Q',
      next: 'copy the whole digest again',
    };
  }
  if (body !== upper) return { what: 'this digest is not in upper case', next: `write ${right}` };
  return { what: 'this digest does not end in the padding "===="', next: `write ${right}` };
}
