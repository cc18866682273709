import { describeError, errnoOf, CodedError, type ErrorCode } from '../../errors.js';

/** What is wrong with a text, before it is known where that text stands. */
export interface Fault {
  /** Index of the character, counted from 0; undefined when it is the text as a whole. */
  readonly at?: number;
  readonly what: string;
  readonly next: string;
}

/** Where something is wrong: in a file, in a text, or in a text of a file. */
export interface Where {
  readonly file?: string;
  /** Counted from 1. */
  readonly line?: number;
  /** Counted from 1. */
  readonly column?: number;
  /** Such as `contents[1].dest`. */
  readonly field?: string;
  /** The env spec, and the index of the character in it unless it is about the whole. */
  readonly spec?: { readonly text: string; readonly at?: number } | undefined;
}

interface Details {
  /** `invalid-argument` when not given. */
  readonly code?: ErrorCode;
  readonly next: string;
  readonly cause?: unknown;
  /** The files that led there, as `file:line`. */
  readonly chain?: readonly string[];
}

/** An error whose message begins with its place: `FILE:LINE: FIELD: what`, or `env spec "…", character N: what`. */
export function specError(where: Where, what: string, details: Details): CodedError {
  const { code = 'invalid-argument', next, cause, chain = [] } = details;
  const { file, line, column, field } = where;
  const message = [...inFile(where), ...inText(where), what].join(': ');
  return new CodedError(code, printable(message), {
    facts: {
      file,
      line,
      column,
      field,
      ...(chain.length === 0 ? {} : { chain }),
    },
    next: printable(next),
    cause,
  });
}

/** `FILE:LINE: FIELD`, as far as known; empty for an item of the env spec itself. */
export function describePlace(where: Where): string {
  return inFile(where).join(': ');
}

const advices: Readonly<Record<string, string>> = {
  EACCES: 'check its permissions, and those of the folders above it',
  EPERM: 'check its permissions, and those of the folders above it',
  ELOOP: 'check where its symlinks lead: they go in a circle',
  ENAMETOOLONG: 'use a shorter path',
};

/** Asks the filesystem something about a path; what goes wrong is told with the place that named it. */
export async function attempt<T>(where: Where, path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    // Without the system call and the path that Node adds: the path is named already.
    const reason = describeError(error).replace(/, \w+ '.*'$/s, '');
    throw specError(where, `${shown(path)} cannot be read: ${reason}`, {
      code: 'failed-precondition',
      next: advices[errnoOf(error) ?? ''] ?? 'check that it is a file on a working filesystem',
      cause: error,
    });
  }
}

/** A path for a message: as it is, unless that would upset a terminal. */
export function shown(path: string): string {
  return /^[^\p{C}]{1,1000}$/u.test(path) ? path : quoted(path);
}

/** A text for a message: in quotes, on one line, not too long. */
export function quoted(text: string): string {
  return quotedAround(text, 0);
}

/** A text and the place in it, for a message. Of a long text, what is around that place. */
export function textAt(text: string, at: number | undefined): string {
  return at === undefined ? quoted(text) : `${quotedAround(text, at)}, character ${at + 1}`;
}

function quotedAround(text: string, at: number): string {
  const from = Math.max(0, Math.min(at - longestShown / 2, text.length - longestShown));
  const to = Math.min(from + longestShown, text.length);
  const part = `${from > 0 ? '…' : ''}${text.slice(from, to)}${to < text.length ? '…' : ''}`;
  return printable(JSON.stringify(part));
}

const longestShown = 200;

/** Escapes for whatever a terminal would act upon or not show, on one line. */
function printable(text: string): string {
  const escaped = (character: string) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`;
  return text.replace(/[\p{C}\p{Zl}\p{Zp}]/gu, escaped);
}

function inFile({ file, line, column, field }: Where): string[] {
  if (file === undefined) return [];
  const place = [shown(file), line, column].filter((part) => part !== undefined).join(':');
  return field === undefined ? [place] : [place, field];
}

function inText({ file, spec }: Where): string[] {
  if (spec === undefined) return [];
  return [`${file === undefined ? 'env spec ' : ''}${textAt(spec.text, spec.at)}`];
}
