import { isAbsolute, normalize } from 'node:path';
import { z } from 'zod';
import { isCode } from '../errors.js';
import { longestSocketPath } from '../limits.js';
import { logLevels, type LogLevel } from '../log.js';
import { formatSize, parseSize } from './size.js';

/*
 * What each kind of value may be. A value comes as text from a flag or the environment, or as TOML's own type from a file.
 * A message continues a sentence that begins with the source and the value: `flag --root: "x" is not an absolute path`.
 */

export const text = z.string({ error: 'is not text' });

/** Normalised, without a slash at its end. @param not what a text that breaks the rule is said to be */
export function absolutePath(not: string) {
  return text.refine(isAbsolute, { error: not }).transform((path) => normalize(path).replace(/(?<=.)\/+$/, ''));
}

/** For `refine`: the program fills the folder, so it must not be the root of everything. */
export const notTheWholeFilesystem = [
  (path: string) => path !== '/',
  { error: 'is the root of the whole filesystem: choose a folder of its own' },
] as const;

/** An absolute path of a unix socket, given with or without `unix://`. */
export const socketPath = text
  .transform((value) => value.replace(/^unix:(\/\/)?/, ''))
  .refine(isAbsolute, { error: 'is neither an absolute path nor unix:// and an absolute path' })
  .refine((path) => !path.includes('\0'), { error: 'contains a zero byte' })
  .refine((path) => Buffer.byteLength(path) <= longestSocketPath, {
    error: `is longer than the ${longestSocketPath} bytes that a unix socket's path may have`,
  });

/** containerd's rule for names. @param not what a text that breaks it is said to be not */
export function containerdName(not: string) {
  return text
    .max(76, { error: 'is longer than the 76 characters that containerd allows' })
    .regex(/^[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*$/, { error: `is not ${not}` });
}

/** In bytes, given as a number or as text with a unit. */
export function sizeWithin({ minimum, maximum }: { readonly minimum: number; readonly maximum: number }) {
  return z.union([text, z.int()], { error: 'is not a size' }).transform((value, context) => {
    const bytes = sizeOf(value, context);
    if (bytes === undefined) return z.NEVER;
    if (bytes >= minimum && bytes <= maximum) return bytes;
    context.addIssue(`is out of range: choose ${formatSize(minimum)} to ${formatSize(maximum)}`);
    return z.NEVER;
  });
}

/** Bytes; undefined, with an issue in the context, for what is no size. */
export function sizeOf(value: string | number, context: z.RefinementCtx): number | undefined {
  try {
    return typeof value === 'number' ? value : parseSize(value);
  } catch (error) {
    if (!isCode(error, 'invalid-argument')) throw error;
    context.addIssue(`is not a size: ${error.next ?? ''}`);
    return undefined;
  }
}

const booleans: Readonly<Record<string, boolean>> = {
  ...{ true: true, yes: true, on: true, 1: true },
  ...{ false: false, no: false, off: false, 0: false },
};

/** undefined: neither true nor false. */
export function booleanOf(value: string): boolean | undefined {
  return booleans[value.trim().toLowerCase()];
}

export const yesOrNo = z
  .union([z.boolean(), text], { error: 'is neither true nor false' })
  .transform((value, context) => {
    const known = typeof value === 'boolean' ? value : booleanOf(value);
    if (known !== undefined) return known;
    context.addIssue('is neither true nor false');
    return z.NEVER;
  });

export const logLevel = text
  .transform((value) => value.toLowerCase() as LogLevel)
  .refine((value) => logLevels.includes(value), { error: `is none of ${logLevels.join(', ')}` });

/** One of a few words. */
export function oneOf<const Word extends string>(words: readonly Word[]) {
  return z.enum(words, { error: `is none of ${words.join(', ')}` });
}

/** A number of a file. @param unit what is counted, in the plural. */
export function countOf(unit: string, largest: number) {
  const error = `is not a whole number of ${unit} from 1 to ${largest}`;
  return z.int({ error }).min(1, { error }).max(largest, { error });
}

/** A number of a file, or digits of a flag or a variable. */
export function countInDigitsOf(unit: string, largest: number) {
  const number = countOf(unit, largest);
  const error = `is not a whole number of ${unit} from 1 to ${largest}`;
  const digits = text
    .regex(/^\d{1,15}$/, { error })
    .transform(Number)
    .pipe(number);
  return z.union([number, digits], { error });
}
