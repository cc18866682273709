import { readFileSync } from 'node:fs';
import { isAbsolute, normalize } from 'node:path';
import { z } from 'zod';
import { SnapshotterError } from '../errors.js';
import { logLevels, type LogLevel } from '../log.js';
import { containerdName, text } from '../setting-values.js';
import { formatSize, parseSize } from '../size.js';

/*
 * What each kind of value may be. A value comes as text from a flag or the environment, or as TOML's own type from a file.
 * A message continues a sentence that begins with the source and the value: `flag --root: "x" is not an absolute path`.
 */

/** The root: its path ends up in mount options and VMDK descriptors, which some characters would break. */
export const rootPath = text
  .refine(isAbsolute, { error: 'is not an absolute path' })
  .transform((path) => normalize(path).replace(/(?<=.)\/+$/, ''))
  .refine((path) => path !== '/', { error: 'is the root of the whole filesystem: choose a folder of its own' })
  // eslint-disable-next-line no-control-regex -- these are what it is about
  .refine((path) => !/[",\\\u0000-\u001f\u007f]/.test(path), {
    error: 'contains a comma, a double quote, a backslash or a control character, which mount options cannot carry',
  });

export const namespace = containerdName('a containerd namespace');

/** Bytes, given as a number or as text with a unit. */
export function sizeWithin({ minimum, maximum }: { readonly minimum: number; readonly maximum: number }) {
  return z.union([text, z.int()], { error: 'is not a size' }).transform((value, context) => {
    try {
      const bytes = typeof value === 'number' ? value : parseSize(value);
      if (bytes >= minimum && bytes <= maximum) return bytes;
      context.addIssue(`is out of range: choose ${formatSize(minimum)} to ${formatSize(maximum)}`);
    } catch (error) {
      if (!(error instanceof SnapshotterError)) throw error;
      context.addIssue(`is not a size: ${error.next ?? ''}`);
    }
    return z.NEVER;
  });
}

const booleans: Readonly<Record<string, boolean>> = {
  true: true,
  yes: true,
  on: true,
  1: true,
  false: false,
  no: false,
  off: false,
  0: false,
};

export const yesOrNo = z
  .union([z.boolean(), text], { error: 'is neither true nor false' })
  .transform((value, context) => {
    const known = typeof value === 'boolean' ? value : booleans[value.toLowerCase()];
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

/** @param unit what is counted, in the plural. */
export function countOf(unit: string, largest: number) {
  const error = `is not a whole number of ${unit} from 1 to ${largest}`;
  return z.int({ error }).min(1, { error }).max(largest, { error });
}

/** A group's number, given as such or as the name of a group in /etc/group. */
export const group = z
  .union([z.int().min(0), text], { error: 'is neither a group nor its number' })
  .transform((value, context) => {
    const gid = typeof value === 'number' ? value : gidOf(value);
    if (gid !== undefined) return gid;
    context.addIssue('is not a group in /etc/group: give its number');
    return z.NEVER;
  });

function gidOf(name: string): number | undefined {
  if (/^\d+$/.test(name)) return Number(name);
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => name !== '' && entry.startsWith(`${name}:`));
  return line === undefined ? undefined : Number(line.split(':')[2]);
}

export { socketPath } from '../setting-values.js';
