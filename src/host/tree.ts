import type { Stats } from 'node:fs';
import { lstat, readdir, realpath, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, CodedError } from '../errors.js';
import { setImmutable } from './attributes.js';
import { run } from './exec.js';
import { listMounts } from './mounts.js';
import { asCodedError } from './space.js';

/** Milliseconds that erasing a tree too deep for path names may take. */
const deepTreeDeadlineMs = 10 * 60_000;

/**
 * Erases a file or a tree, immutable files too; does nothing when there is none. Never reaches into another filesystem.
 *
 * @throws CodedError `failed-precondition` when something is mounted at `path` or below it.
 */
export async function removeTree(path: string): Promise<void> {
  await refuseMounts(path);
  try {
    await erase(path);
  } catch (error) {
    if (!perhapsImmutable.has(errnoOf(error) ?? '')) throw asCodedError(error, `removing ${path}`, path);
    await clearImmutable(path);
    await erase(path).catch((again: unknown) => {
      throw asCodedError(again, `removing ${path}`, path);
    });
  }
}

/** ENOTDIR too: Node takes EPERM from unlink for the answer to a folder, and tries the file as one. */
const perhapsImmutable = new Set(['EPERM', 'ENOTDIR']);

async function erase(path: string): Promise<void> {
  try {
    await rm(path, { recursive: true, force: true });
  } catch (error) {
    if (errnoOf(error) !== 'ENAMETOOLONG') throw error;
    // `rm` goes down folder by folder, so a tree deeper than a path can spell is no trouble to it.
    await run('rm', ['-rf', '--one-file-system', '--', path], {
      deadlineMs: deepTreeDeadlineMs,
      what: `removing ${path}`,
    });
  }
}

async function refuseMounts(path: string): Promise<void> {
  let real: string;
  try {
    real = await realpath(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return;
    throw asCodedError(error, `removing ${path}`);
  }
  const mounted = (await listMounts()).find((mount) => mount.target === real || mount.target.startsWith(`${real}/`));
  if (mounted === undefined) return;
  throw new CodedError('failed-precondition', `${path} cannot be removed: ${mounted.target} is a mount point`, {
    facts: { path, mountPoint: mounted.target },
    next: `run \`umount ${mounted.target}\``,
  });
}

async function clearImmutable(path: string): Promise<void> {
  const stat = await lstat(path);
  if (canBeImmutable(stat)) await setImmutable(path, false);
  if (!stat.isDirectory()) return;
  for (const name of await readdir(path)) await clearImmutable(join(path, name));
}

/** Links and devices have no such attribute, and opening them could reach something else. */
function canBeImmutable(stat: Stats): boolean {
  return stat.isFile() || stat.isDirectory();
}
