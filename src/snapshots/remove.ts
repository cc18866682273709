import { rename } from 'node:fs/promises';

import { CodedError } from '../errors.js';
import { asCodedError } from '../host/index.js';
import type { Context } from './context.js';
import { existing, isRecorded } from './records.js';
import { moveToTrash } from './trash.js';

/**
 * Moves the folder to the trash, then forgets the record. A crash in between leaves a record whose folder is in the trash, by
 * which the next start knows that it was being removed.
 *
 * @throws CodedError `not-found`; `failed-precondition` when other snapshots stand on it
 */
export async function removeSnapshot(context: Context, key: string): Promise<void> {
  await context.keys.run(key, async () => {
    const { id } = await existing(context.store, key);
    let trashed: string | undefined;
    try {
      await context.store.exclusive('remove', async (tx) => {
        refuseChildren(key, await tx.children(key));
        await tx.delete(key);
        trashed = await moveToTrash(context, id);
      });
    } catch (error) {
      if (trashed !== undefined) await putBack(context, key, id, trashed);
      else if (!(error instanceof CodedError)) context.unsettled.add(id);
      throw asCodedError(error, `removing ${JSON.stringify(key)}`, context.paths.root);
    }
    context.merged.forget(id);
    context.layers.remove(id);
    context.chainIds.forget(id);
  });
}

async function putBack(context: Context, key: string, id: number, trashed: string): Promise<void> {
  try {
    if (await isRecorded(context.store, key, id)) await rename(trashed, context.paths.snapshot(id).path);
  } catch (error) {
    context.unsettled.add(id);
    context.log.error({ err: error, key, trashed }, 'could not put back what a failed removal had moved');
  }
}

function refuseChildren(key: string, children: readonly string[]): void {
  if (children.length === 0) return;
  throw new CodedError('failed-precondition', `snapshot ${JSON.stringify(key)} has ${children.length} children`, {
    facts: { key, children: children.slice(0, 10) },
    next: `remove them first, beginning with ${JSON.stringify(children[0])}`,
  });
}
