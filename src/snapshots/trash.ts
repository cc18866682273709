import { readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';

import { errnoOf } from '../errors.js';
import { removeTree, syncFolder } from '../host/index.js';
import { digestOfFileName } from '../layers/index.js';
import type { Digest } from '../vocabulary.js';
import type { Context } from './context.js';
import { parseId } from './paths.js';
import { protect } from './protect.js';
import { isRecorded } from './records.js';

type TrashContext = Pick<Context, 'paths' | 'log'>;
type EraseContext = TrashContext & Pick<Context, 'layers' | 'setImmutable' | 'unsettled'>;

/**
 * Moves a snapshot's folder out of sight in one step; it works while its files are in use.
 *
 * @returns where the folder lies now, or undefined when there was none
 * @throws the system's error; the folder is then in its place, unless even that failed
 */
export async function moveToTrash({ paths }: TrashContext, id: number): Promise<string | undefined> {
  for (let attempt = 0; ; attempt += 1) {
    const target = paths.trashed(id, attempt);
    try {
      await rename(paths.snapshot(id).path, target);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined;
      if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST') throw error;
      continue;
    }
    try {
      await syncFolder(paths.snapshots);
      return target;
    } catch (error) {
      // What is not moved for good must not look moved.
      await rename(target, paths.snapshot(id).path);
      throw error;
    }
  }
}

/** Gives up the folder of a snapshot that was never recorded. A failure is logged: it must not hide why it was given up. */
export async function discardFolder(context: EraseContext, id: number): Promise<void> {
  const folder = context.paths.snapshot(id);
  try {
    const trashed = await moveToTrash(context, id).catch(async () => {
      // A full disk may have no room for a name in the trash. Without its record the rest is an unfinished Prepare's.
      await rm(folder.record, { force: true });
      return folder.path;
    });
    if (trashed !== undefined) await erase(context, trashed);
  } catch (error) {
    context.log.error({ err: error, snapshot: id }, 'could not erase the folder of a snapshot that failed');
    context.unsettled.add(id);
  }
}

/** Leaves no folder of a failed call without a record; whether there is one, only the database knows. */
export async function giveUp(context: EraseContext & Pick<Context, 'store'>, key: string, id: number): Promise<void> {
  try {
    if (!(await isRecorded(context.store, key, id))) await discardFolder(context, id);
  } catch (error) {
    context.log.error({ err: error, snapshot: id }, 'cannot tell whether a snapshot that failed is recorded');
    context.unsettled.add(id);
  }
}

/**
 * Erases removed folders. One that cannot be erased now (still mounted, say) is logged and stays for the next time.
 *
 * @returns how many folders were erased
 */
export async function eraseTrash(context: EraseContext & Pick<Context, 'store'>): Promise<number> {
  const { paths, store, log } = context;
  let erased = 0;
  // In its turn with removals: a folder whose removal is not recorded yet may have to go back to its place.
  const names = await store.exclusive('look into the trash', () => readdir(paths.trash));
  for (const name of names) {
    if (!paths.isTrashName(name)) {
      log.warn({ folder: name }, 'this is not a removed snapshot, and is kept in the trash');
      continue;
    }
    const id = parseId(name.split('-')[0]);
    if (id !== undefined && (await store.byId(id))) {
      // Its removal failed, and it could not be put back.
      context.unsettled.add(id);
      continue;
    }
    try {
      await erase(context, join(paths.trash, name));
      erased += 1;
    } catch (error) {
      log.warn({ err: error, folder: name }, 'could not erase a removed snapshot yet');
    }
  }
  return erased;
}

/** A layer that others hold too is one file, and erasing one name of it lifts the immutable attribute from all: it is set again. */
async function erase(context: EraseContext, folder: string): Promise<void> {
  const { layers, paths, setImmutable } = context;
  const digests = setImmutable ? await layerDigests(folder) : [];
  try {
    await removeTree(folder);
  } finally {
    for (const { id, layer } of digests.flatMap((digest) => layers.find(digest))) {
      await protect(context, paths.snapshot(id).layer(layer.file));
    }
  }
}

async function layerDigests(folder: string): Promise<readonly Digest[]> {
  const names = await readdir(folder).catch(() => []);
  return names.map(digestOfFileName).filter((digest) => digest !== undefined);
}

/** The ids whose folders lie in the trash. */
export async function trashedIds({ paths }: Pick<Context, 'paths'>): Promise<ReadonlySet<number>> {
  const names = await readdir(paths.trash);
  return new Set(names.map((name) => parseId(name.split('-')[0])).filter((id) => id !== undefined));
}
