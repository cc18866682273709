import { readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';

import { exists, syncFolder } from '../host/index.js';
import { settleLayer } from '../layers/index.js';
import { layerOf } from '../metadata/index.js';
import type { Context } from './context.js';
import { parseId } from './paths.js';
import { refreshRecordFile } from './records.js';
import { discardFolder } from './trash.js';

/** Tries once more what calls could not put right; what cannot be settled yet stays. */
export async function settle(context: Context): Promise<void> {
  const { unsettled, log } = context;
  for (const id of unsettled.ids) {
    // Whatever fails adds it again.
    unsettled.delete(id);
    try {
      await settleOne(context, id);
      if (!unsettled.ids.includes(id)) log.info({ snapshot: id }, 'put right what a failed call had left');
    } catch (error) {
      unsettled.add(id);
      log.debug({ err: error, snapshot: id }, 'cannot put right yet what a failed call left');
    }
  }
}

/** The record decides, as at a start. */
async function settleOne(context: Context, id: number): Promise<void> {
  const { store, keys, paths } = context;
  const folder = paths.snapshot(id);
  const found = await store.byId(id);
  if (!found) {
    await discardFolder(context, id);
    return;
  }
  await keys.run(found.key, async () => {
    const record = await store.byId(id);
    if (record?.key !== found.key) {
      context.unsettled.add(id);
      return;
    }
    if (!(await exists(folder.path))) await takeFromTrash(context, id);
    if (record.kind !== 'committed') await settleLayer(folder.path, layerOf(record));
    await refreshRecordFile(context, record);
  });
}

async function takeFromTrash({ paths }: Context, id: number): Promise<void> {
  const name = (await readdir(paths.trash)).find((trashed) => parseId(trashed.split('-')[0]) === id);
  if (name === undefined) return;
  await rename(join(paths.trash, name), paths.snapshot(id).path);
  await syncFolder(paths.snapshots);
}
