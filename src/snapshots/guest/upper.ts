import { lstatSync } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';

import { CodedError } from '../../errors.js';
import { listXattrs } from '../../host/index.js';
import { Holes, type Upper } from '../../layers/index.js';

const slash = Buffer.from('/');

/** Notes by which overlay says that an entry's data or name lies in a layer below, or that a file stands for a whiteout. */
const incomplete = {
  trusted: /^trusted\.overlay\.(redirect|metacopy|whiteout)$/,
  user: /^user\.overlay\.(redirect|metacopy|whiteout)$/,
};

/**
 * The guest owns its disk down to the last byte, so nothing about it is taken for granted: least of all that `upper/` is a
 * folder and not a link to one of the host's.
 *
 * @throws CodedError `failed-precondition` when it is not
 */
export async function mustBeUpperFolder(upper: string): Promise<void> {
  const stat = await lstat(upper).catch(() => undefined);
  if (!stat?.isDirectory()) {
    throw new CodedError('failed-precondition', `the writable layer has no folder "upper" at ${upper}`, {
      facts: { path: upper },
      next: 'let the guest mount its overlay with upper/ and work/ at the root of the ext4',
    });
  }
}

/**
 * Checks that what a guest wrote can become a layer by itself.
 *
 * @throws CodedError `failed-precondition` when the guest's overlay was mounted with `redirect_dir` or `metacopy` and used
 *   it: the layer would lack what those entries refer to; `resource-exhausted` when its files have holes that no disk holds
 * @returns bytes that its files may take while they become a layer
 */
export async function mustBeWholeUpper(upper: Upper): Promise<number> {
  const survey: Survey = { upper, linked: new Set(), size: 0, blocks: 0, largest: undefined };
  await visit(survey, Buffer.from(upper.path));
  const { size, blocks, largest } = survey;
  if (largest === undefined || largest.size <= largestWithHoles) return Math.min(size, 2 * blocks * 512);
  new Holes(upper.mostHoleBytes).add(largest.path, { size, blocks });
  return size;
}

/** Bytes of the largest file whose holes need not be written: with a larger one in it, an upper is converted as it reads. */
const largestWithHoles = 2 ** 32;

interface Survey {
  readonly upper: Upper;
  /** Inodes with several names that were counted. */
  readonly linked: Set<number>;
  /** Of all files: bytes as they read, and blocks of 512 bytes that they hold. */
  size: number;
  blocks: number;
  largest: { readonly path: Buffer; readonly size: number } | undefined;
}

/** Names are bytes: a guest's need not be UTF-8. */
async function visit(survey: Survey, folder: Buffer): Promise<void> {
  for (const entry of await readdir(folder, { withFileTypes: true, encoding: 'buffer' })) {
    const path = Buffer.concat([folder, slash, entry.name]);
    const note = listXattrs(path).find((name) => incomplete[survey.upper.notes].test(name));
    if (note !== undefined) throw notWhole(path, note);
    if (entry.isFile()) count(survey, path);
    if (entry.isDirectory()) await visit(survey, path);
  }
}

/** At once, not in the thread pool: with many files the way there and back would cost more than the call. */
function count(survey: Survey, path: Buffer): void {
  const stat = lstatSync(path);
  if (survey.linked.has(stat.ino)) return;
  if (stat.nlink > 1) survey.linked.add(stat.ino);
  survey.size += Math.max(stat.size, stat.blocks * 512);
  survey.blocks += stat.blocks;
  if (stat.size > (survey.largest?.size ?? 0)) survey.largest = { path, size: stat.size };
}

function notWhole(path: Buffer, note: string): CodedError {
  return new CodedError(
    'failed-precondition',
    `${path.toString()} refers to a layer below (${note}), so that the guest's changes are not whole by themselves`,
    {
      facts: { path: path.toString(), attribute: note },
      next: 'mount the overlay in the guest with redirect_dir=off,metacopy=off',
    },
  );
}
