import { errnoOf, CodedError } from '../errors.js';
import { lgetxattr, llistxattr, lsetxattr } from './libc.js';

/*
 * Extended attributes of the file itself, never of what a symbolic link points to. Paths may be bytes, since a guest's file
 * names need not be UTF-8.
 */

/** The value, or undefined when the file has no such attribute or its filesystem has none at all. */
export function getXattr(path: string | Buffer, name: string): Buffer | undefined {
  try {
    return lgetxattr(path, name);
  } catch (error) {
    if (errnoOf(error) === 'ENODATA' || errnoOf(error) === 'ENOTSUP') return undefined;
    throw error;
  }
}

/**
 * The names of all attributes, sorted.
 *
 * @throws CodedError `failed-precondition` for a name that is not UTF-8: reading it under another name would lose it.
 */
export function listXattrs(path: string | Buffer): string[] {
  let list: Buffer;
  try {
    list = llistxattr(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOTSUP') return [];
    throw error;
  }
  return decode(list, path)
    .split('\0')
    .filter((name) => name !== '')
    .sort();
}

function decode(list: Buffer, path: string | Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(list);
  } catch (cause) {
    const message = `an extended attribute of ${path.toString()} has a name that is not UTF-8`;
    throw new CodedError('failed-precondition', message, { facts: { path: path.toString() }, cause });
  }
}

export function setXattr(path: string | Buffer, name: string, value: string | Uint8Array): void {
  lsetxattr(path, name, typeof value === 'string' ? Buffer.from(value) : value);
}
