import { CodedError } from '../errors.js';

/**
 * containerd's filter language:
 *
 *     filter    := selector ("," selector)*
 *     selector  := fieldpath [operator value]
 *     fieldpath := field ("." field)*
 *     field     := [A-Za-z0-9_-]+ | "quoted"
 *     operator  := "==" | "!=" | "~="
 *     value     := word | "quoted"; after "~=" also /quoted/ and |quoted|
 *
 * White space may stand before a field, an operator or a value, and nowhere else. Quoted text knows Go's escapes.
 */
export interface Selector {
  readonly path: readonly string[];
  readonly operator: 'present' | '==' | '!=' | '~=';
  /** '' for `present`. */
  readonly value: string;
  /** Where the value begins in the filter, in UTF-16 units. */
  readonly valueAt: number;
}

const space = /\p{White_Space}*/uy;
const field = /[A-Za-z0-9_-]+/y;
const operator = /[=!~]+/y;
// A word runs up to a comma, white space or a control character; it cannot begin like another token.
const word = /(?![".,=!~/|])(?:(?!,)[\p{L}\p{M}\p{N}\p{P}\p{S}])+/uy;

const simpleEscapes: Readonly<Record<string, number>> = { a: 7, b: 8, f: 12, n: 10, r: 13, t: 9, v: 11, '\\': 92 };
const numericEscape = /[0-7]{3}|x[0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4}|U[0-9A-Fa-f]{8}/y;

/** @throws CodedError `invalid-argument` with the position of what is wrong */
export function parseFilter(filter: string): Selector[] {
  return new Parser(filter).filter();
}

/** An error at a place in a filter; positions in messages count from 1. */
export function filterError(filter: string, at: number, what: string, next = 'write field==value'): CodedError {
  const shown = filter.length <= 200 ? filter : `${filter.slice(0, 200)}…`;
  return new CodedError('invalid-argument', `the filter ${JSON.stringify(shown)}, character ${at + 1}: ${what}`, {
    facts: { filter: shown, position: at + 1 },
    next,
  });
}

class Parser {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  filter(): Selector[] {
    const selectors = [this.#selector()];
    while (this.#at < this.#text.length) {
      if (!this.#skip(',')) throw this.#error('expected a comma');
      selectors.push(this.#selector());
    }
    return selectors;
  }

  #selector(): Selector {
    const path = [this.#field()];
    while (this.#skip('.')) path.push(this.#field());
    if (this.#at === this.#text.length || this.#text[this.#at] === ',') {
      return { path, operator: 'present', value: '', valueAt: this.#at };
    }
    const chosen = this.#operator();
    this.#take(space);
    const valueAt = this.#at;
    return { path, operator: chosen, value: this.#value(chosen === '~='), valueAt };
  }

  #field(): string {
    this.#take(space);
    if (this.#text[this.#at] === '"') return this.#quoted();
    const name = this.#take(field);
    if (name === '') throw this.#error('expected a field', 'write name, kind, parent or labels."the key"');
    return name;
  }

  #operator(): '==' | '!=' | '~=' {
    this.#take(space);
    const at = this.#at;
    const found = this.#take(operator);
    if (found === '==' || found === '!=' || found === '~=') return found;
    throw filterError(this.#text, at, found === '' ? 'expected an operator' : `unknown operator "${found}"`, operators);
  }

  #value(quotedPattern: boolean): string {
    const first = this.#text[this.#at] ?? '';
    if (first === '"' || (quotedPattern && (first === '/' || first === '|'))) return this.#quoted();
    const value = this.#take(word);
    if (value === '') throw this.#error('expected a value', 'quote a value that begins with a mark: name=="/a"');
    return value;
  }

  /** Text between two equal quotes. Escapes may spell single bytes, so the whole is read as UTF-8 at the end. */
  #quoted(): string {
    const start = this.#at;
    const quote = this.#text[start] ?? '';
    const parts: Uint8Array[] = [];
    for (this.#at += 1; this.#text[this.#at] !== quote;) {
      const from = this.#at;
      const character = this.#text[from];
      if (character === undefined || character === '\n' || character === '\0') {
        throw filterError(this.#text, start, 'this quote is not closed', `close it with ${quote}`);
      }
      if (character === '\\') {
        parts.push(this.#escape(quote));
        continue;
      }
      while (!['\\', '\n', '\0', quote, undefined].includes(this.#text[this.#at])) this.#at += 1;
      parts.push(Buffer.from(this.#text.slice(from, this.#at)));
    }
    this.#at += 1;
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(Buffer.concat(parts));
    } catch {
      throw filterError(this.#text, start, 'the escapes do not spell UTF-8', 'write the character itself, or \\u');
    }
  }

  #escape(quote: string): Uint8Array {
    this.#at += 1;
    const character = this.#text[this.#at] ?? '';
    const simple = character === quote ? character.charCodeAt(0) : simpleEscapes[character];
    if (simple !== undefined) {
      this.#at += 1;
      return Uint8Array.of(simple);
    }
    const at = this.#at - 1;
    const digits = this.#take(numericEscape);
    if (digits === '') throw filterError(this.#text, at, 'unknown escape', 'write \\\\ for a backslash in quotes');
    return numeric(digits) ?? this.#outOfRange(at);
  }

  #outOfRange(at: number): never {
    throw filterError(this.#text, at, 'this escape is no character', 'write the character itself');
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at += 1;
    return true;
  }

  #take(pattern: RegExp): string {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? '';
    this.#at += found.length;
    return found;
  }

  #error(what: string, next?: string): CodedError {
    return filterError(this.#text, this.#at, what, next);
  }
}

const operators = 'use == (equal), != (not equal) or ~= (matches a pattern)';

/** The bytes of an octal, \x, \u or \U escape; undefined when it is out of range. */
function numeric(digits: string): Uint8Array | undefined {
  if (digits.length === 3 && digits[0] !== 'x') {
    const byte = parseInt(digits, 8);
    return byte <= 0xff ? Uint8Array.of(byte) : undefined;
  }
  const value = parseInt(digits.slice(1), 16);
  if (digits[0] === 'x') return Uint8Array.of(value);
  if (value > 0x10ffff || (value >= 0xd800 && value <= 0xdfff)) return undefined;
  return Buffer.from(String.fromCodePoint(value));
}
