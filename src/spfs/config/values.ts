import { isAbsolute, normalize } from 'node:path';
import { z } from 'zod';
import { isCode } from '../../errors.js';
import { logLevels, type LogLevel } from '../../log.js';
import { containerdName, text } from '../../setting-values.js';
import { parseSize } from '../../size.js';

/*
 * What each kind of value may be. A value comes as text from a flag or the environment, or as TOML's own type from a file.
 * A message continues a sentence that begins with the source and the value: `flag --kernel: "x" is not an absolute path`.
 */

/** Absolute when it comes here: the loader puts the home folder in the place of `~`. */
export const path = text
  .refine(isAbsolute, { error: 'is neither an absolute path nor one that begins with ~/' })
  // eslint-disable-next-line no-control-regex -- these are what it is about
  .refine((value) => !/[\u0000-\u001f\u007f]/.test(value), { error: 'contains a control character' })
  .transform((value) => normalize(value).replace(/(?<=.)\/+$/, ''));

export const folderOfItsOwn = path.refine((value) => value !== '/', {
  error: 'is the root of the whole filesystem: choose a folder of its own',
});

/** Of namespaces and of plugins. */
export function identifier(what: string) {
  return containerdName(`the name of a ${what} of containerd`);
}

/** It ends up in QEMU's arguments and in a label. */
export const runtimeName = text.regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/, {
  error: 'is not a name of at most 64 letters, digits, ".", "_" and "-" that begins with a letter or a digit',
});

/** What stands in a tag's history. */
export const personOrHost = text.regex(/^[^\s@\p{Cc}]{1,255}$/u, { error: 'is empty or contains a space or an @' });

/** In bytes, given as a number or as text with a unit. */
export function sizeWithin(o: { readonly minimum: number; readonly maximum: number; readonly range: string }) {
  return z.union([text, z.int()], { error: 'is not a size' }).transform((value, context) => {
    const bytes = sizeOf(value, context);
    if (bytes === undefined) return z.NEVER;
    if (bytes >= o.minimum && bytes <= o.maximum) return bytes;
    context.addIssue(`is out of range: choose ${o.range}`);
    return z.NEVER;
  });
}

const percentage = /^([1-9]\d?|100)\s*%$/;

/**
 * As tmpfs takes it in its option `size=`: a number of bytes, or a percentage of the guest's memory. Fewer bytes than a page, 0
 * among them, would mean no limit to tmpfs.
 */
export const tmpfsSize = z.union([text, z.int()], { error: 'is not a size' }).transform((value, context) => {
  const percent = typeof value === 'string' ? percentage.exec(value.trim())?.[1] : undefined;
  if (percent !== undefined) return `${percent}%`;
  if (typeof value === 'string' && value.includes('%')) {
    context.addIssue('is not a percentage: write a whole number from 1 to 100, and %');
    return z.NEVER;
  }
  const bytes = sizeOf(value, context);
  if (bytes === undefined) return z.NEVER;
  if (bytes >= 4096) return String(bytes);
  context.addIssue('is out of range: choose 4096 bytes or more');
  return z.NEVER;
});

function sizeOf(value: string | number, context: z.RefinementCtx): number | undefined {
  try {
    return typeof value === 'number' ? value : parseSize(value);
  } catch (error) {
    if (!isCode(error, 'invalid-argument')) throw error;
    context.addIssue(`is not a size: ${error.next ?? ''}`);
    return undefined;
  }
}

/** @param unit what is counted, in the plural. */
export function countOf(unit: string, largest: number) {
  const error = `is not a whole number of ${unit} from 1 to ${largest}`;
  const number = z.int({ error }).min(1, { error }).max(largest, { error });
  const digits = text
    .regex(/^\d{1,15}$/, { error })
    .transform(Number)
    .pipe(number);
  return z.union([number, digits], { error });
}

export const accelerator = z.enum(['auto', 'kvm', 'tcg'], { error: 'is none of auto, kvm, tcg' });

export const logLevel = text
  .transform((value) => value.toLowerCase() as LogLevel)
  .refine((value) => logLevels.includes(value), { error: `is none of ${logLevels.join(', ')}` });

const booleans: Readonly<Record<string, boolean>> = {
  ...{ true: true, yes: true, on: true, 1: true },
  ...{ false: false, no: false, off: false, 0: false },
};

/** undefined: neither true nor false. */
export function booleanOf(value: string): boolean | undefined {
  return booleans[value.trim().toLowerCase()];
}

export { socketPath } from '../../setting-values.js';
