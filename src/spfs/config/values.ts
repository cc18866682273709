import { z } from 'zod';
import { absolutePath, containerdName, notTheWholeFilesystem, sizeOf, text } from '../../settings/index.js';

/** Absolute when it comes here: the loader puts the home folder in the place of `~`. */
export const path = absolutePath('is neither an absolute path nor one that begins with ~/')
  // eslint-disable-next-line no-control-regex -- these are what it is about
  .refine((value) => !/[\u0000-\u001f\u007f]/.test(value), { error: 'contains a control character' });

export const folderOfItsOwn = path.refine(...notTheWholeFilesystem);

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
