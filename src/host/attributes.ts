import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '../errors.js';
import { getInodeFlags, setInodeFlags } from './libc.js';

const FS_IMMUTABLE_FL = 0x10;

/**
 * Sets or clears the immutable attribute of a regular file or a folder.
 *
 * @returns false where the filesystem does not know that attribute, or this process may not set it.
 */
export async function setImmutable(path: string, on: boolean): Promise<boolean> {
  const file = await open(path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  try {
    const flags = getInodeFlags(file.fd);
    const wanted = on ? flags | FS_IMMUTABLE_FL : flags & ~FS_IMMUTABLE_FL;
    if (wanted !== flags) setInodeFlags(file.fd, wanted);
    return true;
  } catch (error) {
    if (unsupported.has(errnoOf(error) ?? '')) return false;
    throw error;
  } finally {
    await file.close();
  }
}

const unsupported = new Set(['ENOTTY', 'ENOTSUP', 'EOPNOTSUPP', 'EINVAL', 'ENOSYS', 'EPERM']);
