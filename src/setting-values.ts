import { isAbsolute } from 'node:path';
import { z } from 'zod';
import { longestSocketPath } from './limits.js';

/*
 * Kinds of values that more than one configuration has. A message continues a sentence that begins with the source and the value:
 * `flag --root: "x" is not an absolute path`.
 */

export const text = z.string({ error: 'is not text' });

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
