import { stat } from 'node:fs/promises';
import { isAbsolute, normalize } from 'node:path';

import { errnoOf, SnapshotterError } from '../errors.js';
import type { LiveShare } from './options.js';

/** A live share whose source was looked at. */
export interface Share extends LiveShare {
  readonly kind: 'folder' | 'file';
}

/**
 * @throws SnapshotterError `invalid-argument` for a path that is not absolute, a destination outside `/spfs`, a source that is
 *   neither a folder nor a file; `not-found` when there is no source.
 */
export async function checkShares(shares: readonly LiveShare[]): Promise<readonly Share[]> {
  const checked: Share[] = [];
  for (const { source, destination } of shares) {
    if (!isAbsolute(source) || source.includes('\0')) {
      throw refused(`the live source ${JSON.stringify(source)} is not an absolute path`, 'give an absolute path');
    }
    const kind = await kindOf(source);
    checked.push({ source, destination: inStack(destination, kind), kind });
  }
  return checked;
}

function inStack(destination: string, kind: Share['kind']): string {
  const path = normalize(destination).replace(/(?<=.)\/$/, '');
  const named = JSON.stringify(destination);
  if (destination.includes('\0') || (path !== '/spfs' && !path.startsWith('/spfs/'))) {
    throw refused(`the live destination ${named} is not below /spfs`, 'give a path below /spfs');
  }
  if (path === '/spfs' && kind === 'file') {
    throw refused(`the live destination ${named} is a folder, but its source is a file`, 'name the file below /spfs');
  }
  return path;
}

async function kindOf(source: string): Promise<Share['kind']> {
  const found = await stat(source).catch((error: unknown) => {
    const why =
      errnoOf(error) === 'ENOENT' ? 'does not exist' : `cannot be read (${errnoOf(error) ?? 'unknown cause'})`;
    throw new SnapshotterError('not-found', `the live source ${source} ${why}`, {
      facts: { path: source },
      next: 'make it, or take it out of the live layer',
      cause: error,
    });
  });
  if (found.isDirectory()) return 'folder';
  if (found.isFile()) return 'file';
  throw refused(`the live source ${source} is neither a folder nor a file`, 'share the folder that holds it');
}

function refused(message: string, next: string): SnapshotterError {
  return new SnapshotterError('invalid-argument', message, { next });
}
