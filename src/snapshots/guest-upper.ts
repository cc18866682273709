import { lstat, readdir } from 'node:fs/promises';

import { SnapshotterError } from '../errors.js';
import { listXattrs } from '../host/index.js';

/** Notes by which overlay says that an entry's data or name lies in a layer below. */
const incomplete = /^(trusted|user)\.overlay\.(redirect|metacopy)$/;

/**
 * The guest owns its disk down to the last byte, so nothing about it is taken for granted: least of all that `upper/` is a
 * folder and not a link to one of the host's.
 *
 * @throws SnapshotterError `failed-precondition` when it is not
 */
export async function mustBeUpperFolder(upper: string): Promise<void> {
  const stat = await lstat(upper).catch(() => undefined);
  if (!stat?.isDirectory()) {
    throw new SnapshotterError('failed-precondition', `the writable layer has no folder "upper" at ${upper}`, {
      facts: { path: upper },
      next: 'let the guest mount its overlay with upper/ and work/ at the root of the ext4',
    });
  }
}

/**
 * Checks that what a guest wrote can become a layer by itself.
 *
 * @throws SnapshotterError `failed-precondition` when the guest's overlay was mounted with `redirect_dir` or `metacopy` and used
 *   it: the layer would lack what those entries refer to
 */
export async function mustBeWholeUpper(upper: string): Promise<void> {
  await visit(upper, Buffer.from('/'));
}

/** Names are bytes: a guest's need not be UTF-8. */
async function visit(upper: string, inside: Buffer): Promise<void> {
  const folder = Buffer.concat([Buffer.from(upper), inside]);
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([folder, entry.name]);
    const note = listXattrs(path).find((name) => incomplete.test(name));
    if (note !== undefined) throw notWhole(path, note);
    if (entry.isDirectory()) await visit(upper, Buffer.concat([inside, entry.name, Buffer.from('/')]));
  }
}

function notWhole(path: Buffer, note: string): SnapshotterError {
  return new SnapshotterError(
    'failed-precondition',
    `${path.toString()} refers to a layer below (${note}), so that the guest's changes are not whole by themselves`,
    {
      facts: { path: path.toString(), attribute: note },
      next: 'mount the overlay in the guest with redirect_dir=off,metacopy=off',
    },
  );
}
