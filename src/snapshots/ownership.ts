import { chmod, lstat, open, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf, CodedError } from '../errors.js';
import { asCodedError, makeFolder, syncFile, syncFolder } from '../host/index.js';
import type { Logger } from '../log.js';
import { MetadataStore } from '../metadata/index.js';
import { readRecordFile, snapshotIds } from './open-metadata.js';
import type { RootPaths } from './paths.js';

const markerText = `This folder belongs to the erofs-snapshotter that keeps its records in LevelDB. Do not delete this file: without it,
what a crash leaves here is kept for ever.
`;

/** Every new ext4 filesystem has it; it is no sign of another program. */
const lostAndFound = 'lost+found';

/** At offset 16 of the first page of every bbolt file (go.etcd.io/bbolt, db.go), little-endian. */
const boltMagic = 0xed0cdaed;

/**
 * Makes sure that the root is this program's, and makes it when it is missing (mode 0700). Other snapshotters have the same
 * default path, folders and markers: whatever is not surely ours is refused before anything in it is changed. A root of a
 * release without the marker is recognised by its records, and marked; an empty one becomes ours.
 *
 * @throws CodedError `failed-precondition` for a root that is another program's or user's, or cannot be made
 */
export async function claimRoot(paths: RootPaths, log: Logger): Promise<void> {
  const { root } = paths;
  await makeFolder(root, 0o700);
  try {
    const { uid, mode } = await stat(root);
    const me = process.geteuid?.() ?? uid;
    if (uid !== me) throw wrongOwner(root, uid, me);
    const names = new Set(await readdir(root));
    const foreign = await whatIsForeign(paths, names);
    if (foreign !== undefined) throw notOurs(root, foreign);
    if ((mode & 0o7777) !== 0o700) {
      await chmod(root, 0o700);
      log.warn({ root, mode: (mode & 0o7777).toString(8) }, 'the root was open to others: its mode is 0700 again');
    }
    if (await isFile(paths.ownMarker)) return;
    await mark(paths.ownMarker);
    await syncFile(paths.ownMarker);
    await syncFolder(root);
    if (names.size > 0) log.info({ root }, "marked the root as this program's");
  } catch (error) {
    throw asCodedError(error, `looking at the root ${root}`, root);
  }
}

/** Marks a folder of ours, root or snapshot; one that is marked stays as it is. Not flushed. */
export async function mark(marker: string): Promise<void> {
  await writeFile(marker, markerText, { flag: 'wx', mode: 0o600 }).catch((error: unknown) => {
    if (errnoOf(error) !== 'EEXIST') throw error;
  });
}

/** @returns what in the root is another program's, or undefined when the root is surely ours, or has nothing in it to lose */
async function whatIsForeign(paths: RootPaths, names: ReadonlySet<string>): Promise<string | undefined> {
  const marked = await isFile(paths.ownMarker);
  const metadata = await lstatOrNone(paths.metadata);
  const isFolder = metadata?.isDirectory() ?? false;
  if (metadata && !isFolder) {
    // In a root that is marked, a damaged database of ours may be whatever a repair of the disk made of it.
    if (marked && !(await isBolt(paths.metadata))) return undefined;
    return 'metadata.db is a file, as other snapshotters have it, and this one keeps a folder there';
  }
  if (marked || [...names].every((name) => name === lostAndFound)) return undefined;
  const recognised = isFolder ? await MetadataStore.recognise(paths.metadata) : 'unreadable';
  if (recognised === 'ours') return undefined;
  if (recognised === 'foreign') return 'metadata.db is the LevelDB of another program';
  if (await isBegun(paths, names)) return undefined;
  // The database is lost or damaged, which is mended later: then the records in the folders tell.
  if (names.has('snapshots') && (await hasRecordOfOurs(paths))) return undefined;
  return `it holds what this program did not make (${[...names].sort().slice(0, 5).join(', ')})`;
}

/** What a release without the marker had made before it was killed at its first start: empty folders, perhaps half a database. */
async function isBegun(paths: RootPaths, names: ReadonlySet<string>): Promise<boolean> {
  const folders = [paths.snapshots, paths.trash, paths.aheads];
  const known = new Set([...folders, paths.lock, paths.metadata, join(paths.root, lostAndFound)]);
  if (![...names].every((name) => known.has(join(paths.root, name)))) return false;
  // No other snapshotter has a folder of that name.
  if (!(await lstatOrNone(paths.trash))?.isDirectory()) return false;
  for (const folder of folders) {
    if ((await readdir(folder).catch((error: unknown) => emptyIfMissing(error))).length > 0) return false;
  }
  return true;
}

function emptyIfMissing(error: unknown): string[] {
  if (errnoOf(error) === 'ENOENT') return [];
  throw error;
}

async function hasRecordOfOurs(paths: RootPaths): Promise<boolean> {
  for (const id of await snapshotIds(paths)) {
    const found = await readRecordFile(paths, id).catch(() => undefined);
    if (found) return true;
  }
  return false;
}

async function isBolt(path: string): Promise<boolean> {
  const file = await open(path, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(20), 0, 20, 0);
    return bytesRead === 20 && buffer.readUInt32LE(16) === boltMagic;
  } finally {
    await file.close();
  }
}

async function isFile(path: string): Promise<boolean> {
  return (await lstatOrNone(path))?.isFile() ?? false;
}

async function lstatOrNone(path: string) {
  try {
    return await lstat(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function notOurs(root: string, why: string): CodedError {
  return new CodedError(
    'failed-precondition',
    `the root ${root} is not this program's, and nothing in it was changed: ${why}`,
    {
      facts: { root },
      next: "choose another root (--root, EROFS_SNAPSHOTTER_ROOT, or root in the configuration file) and pull or import the images again: another snapshotter's root cannot be taken over, see UPGRADING.md",
    },
  );
}

function wrongOwner(root: string, uid: number, me: number): CodedError {
  return new CodedError('failed-precondition', `the root ${root} belongs to user ${uid}, and this is user ${me}`, {
    facts: { root, owner: uid, user: me },
    next: `give it to this user ("chown ${me} ${root}") when it is meant for this program, or choose another root (--root)`,
  });
}
