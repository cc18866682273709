import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, SnapshotterError } from '../../errors.js';
import { makeFolder } from '../../host/index.js';

const lockName = 'lock';

const choose = 'name an empty or new folder with SPIN_SPFS_STORAGE_ROOT, or with spin_root in [storage] of spfs.toml';

export function lockPath(root: string): string {
  return join(root, lockName);
}

export function databasePath(root: string): string {
  return join(root, 'store.db');
}

/**
 * Makes the storage root with mode 0700 when it is missing, and refuses one that is not the companion's: who may write in it
 * decides what `spfs run` starts, and the folder of another program's spfs is not to be mixed with this one's.
 *
 * @throws SnapshotterError `failed-precondition`; `resource-exhausted`
 */
export async function prepareRoot(root: string): Promise<void> {
  await makeFolder(root, 0o700);
  const { uid, mode } = await stat(root);
  const me = process.geteuid?.();
  if (me !== undefined && uid !== me) {
    throw refused(
      root,
      `belongs to user ${uid}, and this is user ${me}`,
      'run spfs as its owner, or choose another one',
    );
  }
  if ((mode & 0o022) !== 0) {
    throw refused(root, 'can be written by other users than its owner', `chmod go-w ${root}, or choose another one`);
  }
  const names = await usable(root);
  if (names.length === 0 || names.includes(lockName)) return;
  const found = names.slice(0, 3).join(', ');
  const isRepository = ['objects', 'payloads', 'tags'].every((name) => names.includes(name));
  const what = isRepository ? 'is a repository of the original spfs' : `holds what is not this program's (${found})`;
  throw refused(root, what, `${choose}; SPFS_STORAGE_ROOT and storage.root move the store of the original spfs, too`);
}

async function usable(root: string): Promise<string[]> {
  try {
    await access(root, constants.R_OK | constants.W_OK | constants.X_OK);
    return await readdir(root);
  } catch (error) {
    throw refused(root, `cannot be used: ${describeError(error)}`, choose, error);
  }
}

function refused(root: string, what: string, next: string, cause?: unknown): SnapshotterError {
  return new SnapshotterError('failed-precondition', `the storage root ${root} ${what}`, {
    facts: { path: root },
    next,
    cause,
  });
}
