import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { absolutePath, containerdName, notTheWholeFilesystem, text } from '../settings/index.js';

/** The root: its path ends up in mount options and VMDK descriptors, which some characters would break. */
export const rootPath = absolutePath('is not an absolute path')
  .refine(...notTheWholeFilesystem)
  // eslint-disable-next-line no-control-regex -- these are what it is about
  .refine((path) => !/[",\\\u0000-\u001f\u007f]/.test(path), {
    error: 'contains a comma, a double quote, a backslash or a control character, which mount options cannot carry',
  });

export const namespace = containerdName('a containerd namespace');

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
