import type { FileHandle } from 'node:fs/promises';
import { isAbsolute, normalize } from 'node:path';

import { errnoOf, CodedError } from '../errors.js';
import { openWithoutLinks } from '../host/index.js';
import type { Scope } from '../scope.js';
import type { LiveShare } from './options.js';

/** A live share whose source was looked at. */
export interface Share extends LiveShare {
  readonly kind: 'folder' | 'file';
  /** Numbers of the source's device and inode, as `stat --format=%d:%i` prints them. */
  readonly identity: string;
}

/**
 * @throws CodedError `invalid-argument` for a path that is not absolute, a destination outside `/spfs`, a source that is
 *   neither a folder nor a file; `not-found` when there is no source; `failed-precondition` when a symlink leads to it.
 */
export async function checkShares(shares: readonly LiveShare[]): Promise<readonly Share[]> {
  const checked: Share[] = [];
  for (const { source, destination } of shares) {
    if (!isAbsolute(source) || source.includes('\0')) {
      throw refused(`the live source ${JSON.stringify(source)} is not an absolute path`, 'give an absolute path');
    }
    const path = withoutSlash(source);
    const opened = await openSource(path);
    try {
      const { kind, identity } = await lookAt(opened, path);
      checked.push({ source: path, destination: inStack(destination, kind), kind, identity });
    } finally {
      await opened.close();
    }
  }
  return checked;
}

/**
 * Opens each source once more and holds it until the scope closes, so that its inode's number stays its own.
 *
 * @throws CodedError as `checkShares` does; `failed-precondition` when another file has taken a source's place.
 */
export async function holdShares(shares: readonly Share[], scope: Scope): Promise<void> {
  for (const { source, identity } of shares) {
    const opened = await openSource(source);
    scope.defer(source, () => opened.close());
    if ((await lookAt(opened, source)).identity !== identity) throw replaced(source);
  }
}

/** Another file is where a source was when it was checked. */
export function replaced(source: string): CodedError {
  return new CodedError('failed-precondition', `the live source ${source} was replaced while the run began`, {
    facts: { path: source },
    next: 'run it again once nothing replaces it',
  });
}

function withoutSlash(path: string): string {
  return normalize(path).replace(/(?<=.)\/$/, '');
}

function inStack(destination: string, kind: Share['kind']): string {
  const path = withoutSlash(destination);
  const named = JSON.stringify(destination);
  if (destination.includes('\0') || (path !== '/spfs' && !path.startsWith('/spfs/'))) {
    throw refused(`the live destination ${named} is not below /spfs`, 'give a path below /spfs');
  }
  if (path === '/spfs' && kind === 'file') {
    throw refused(`the live destination ${named} is a folder, but its source is a file`, 'name the file below /spfs');
  }
  return path;
}

async function openSource(source: string): Promise<FileHandle> {
  const opened = await openWithoutLinks(source).catch((error: unknown) => {
    const why =
      errnoOf(error) === 'ENOENT' ? 'does not exist' : `cannot be read (${errnoOf(error) ?? 'unknown cause'})`;
    throw new CodedError('not-found', `the live source ${source} ${why}`, {
      facts: { path: source },
      next: 'make it, or take it out of the live layer',
      cause: error,
    });
  });
  if (opened) return opened;
  throw new CodedError('failed-precondition', `the live source ${source} is reached by a symlink`, {
    facts: { path: source },
    next: 'give the path without symlinks; a source that became one while the run began is not shared',
  });
}

async function lookAt(opened: FileHandle, source: string): Promise<Pick<Share, 'kind' | 'identity'>> {
  const found = await opened.stat({ bigint: true });
  const identity = `${found.dev}:${found.ino}`;
  if (found.isDirectory()) return { kind: 'folder', identity };
  if (found.isFile()) return { kind: 'file', identity };
  // A symlink in the last place is opened as itself.
  const what = found.isSymbolicLink() ? 'a symlink' : 'neither a folder nor a file';
  throw refused(`the live source ${source} is ${what}`, 'share the folder that holds it');
}

function refused(message: string, next: string): CodedError {
  return new CodedError('invalid-argument', message, { next });
}
