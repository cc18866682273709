import { constants } from 'node:fs';
import { access, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describeError, errnoOf, CodedError } from '../../errors.js';
import { asCodedError, makeFolder } from '../../host/index.js';
import { recogniseStore } from './database.js';

const lockName = 'lock';
const databaseName = 'store.db';
/** Says that the folder is ours; no other program has this name, where many have a `lock`. */
const markerName = '.spfs-erofs-store';
const markerText = 'This folder belongs to the spfs that comes with erofs-snapshotter.\n';

const choose = 'name an empty or new folder with SPIN_SPFS_STORAGE_ROOT, or with spin_root in [storage] of spfs.toml';

export function lockPath(root: string): string {
  return join(root, lockName);
}

export function databasePath(root: string): string {
  return join(root, databaseName);
}

/**
 * Makes the storage root with mode 0700 when it is missing, and refuses one that is not the companion's: who may write in it
 * decides what `spfs run` starts, and the folder of another program's spfs is not to be mixed with this one's.
 *
 * @throws CodedError `failed-precondition`; `resource-exhausted`
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
  if (names.includes(markerName)) return;
  if (!(await isOurs(root, names))) {
    const found = names.slice(0, 3).join(', ');
    const isRepository = ['objects', 'payloads', 'tags'].every((name) => names.includes(name));
    const what = isRepository ? 'is a repository of the original spfs' : `holds what is not this program's (${found})`;
    throw refused(root, what, `${choose}; SPFS_STORAGE_ROOT and storage.root move the store of the original spfs, too`);
  }
  await writeFile(join(root, markerName), markerText, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw asCodedError(error, `marking ${root}`, root);
  });
}

/** An empty folder becomes ours; one of a release without the marker is recognised by its database, which is not changed for that. */
async function isOurs(root: string, names: readonly string[]): Promise<boolean> {
  if (names.every((name) => name === 'lost+found')) return true;
  const known = [lockName, databaseName, `${databaseName}.unfinished`];
  if (!names.includes(lockName) || !names.every((name) => known.includes(name))) return false;
  if (!names.includes(databaseName)) return true;
  // One that is damaged is told later, and left as it is.
  return (await recogniseStore(databasePath(root))) !== 'foreign';
}

async function usable(root: string): Promise<string[]> {
  try {
    await access(root, constants.R_OK | constants.W_OK | constants.X_OK);
    return await readdir(root);
  } catch (error) {
    throw refused(root, `cannot be used: ${describeError(error)}`, choose, error);
  }
}

function refused(root: string, what: string, next: string, cause?: unknown): CodedError {
  return new CodedError('failed-precondition', `the storage root ${root} ${what}`, {
    facts: { path: root },
    next,
    cause,
  });
}
