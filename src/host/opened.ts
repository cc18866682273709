import { constants } from 'node:fs';
import { open, readlink, type FileHandle } from 'node:fs/promises';

/** Linux's O_PATH, which Node has no name for: what is opened so is neither read nor waited for. */
const O_PATH = 0o10000000;

/**
 * Opens the file or folder that a path names by itself: no part of it is a symlink. The descriptor stays at the same file, whatever
 * comes in the path's place, and its inode number is not given to another file before it is closed.
 *
 * @param path absolute and normalised
 * @returns undefined when something on the way is a symlink.
 * @throws Node's system errors, such as ENOENT
 */
export async function openWithoutLinks(path: string): Promise<FileHandle | undefined> {
  const opened = await open(path, O_PATH | constants.O_NOFOLLOW);
  try {
    // Where the kernel has the opened file: elsewhere when a symlink led there, or when it was moved or deleted since.
    if ((await readlink(`/proc/self/fd/${opened.fd}`)) === path) return opened;
  } catch (error) {
    await opened.close();
    throw error;
  }
  await opened.close();
  return undefined;
}
