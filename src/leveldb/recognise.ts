import { constants } from 'node:fs';
import { copyFile, mkdir, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Level } from 'level';
import { makeTemporaryFolder } from '../host/index.js';

/** What a folder holds: the LevelDB asked for, another one, or none that can be read. */
export type Recognised = 'ours' | 'foreign' | 'unreadable';

/**
 * Tells a LevelDB of this project from any other without changing a byte of it. LevelDB writes as soon as it opens, so a copy is
 * opened, in a temporary folder.
 *
 * @param keys of the sublevel `meta`, each of which must have a value
 */
export async function recogniseDatabase(folder: string, keys: readonly string[]): Promise<Recognised> {
  const temporary = await makeTemporaryFolder('database');
  try {
    const copy = join(temporary, 'copy');
    await mkdir(copy);
    const entries = await readdir(folder, { withFileTypes: true });
    for (const { name } of entries.filter((entry) => entry.isFile() && entry.name !== 'LOCK')) {
      await copyFile(join(folder, name), join(copy, name), constants.COPYFILE_FICLONE);
    }
    const level = new Level(copy, { createIfMissing: false, keyEncoding: 'utf8', valueEncoding: 'utf8' });
    try {
      await level.open();
      const values = await level.sublevel('meta').getMany([...keys]);
      return values.every((value) => value !== undefined) ? 'ours' : 'foreign';
    } finally {
      await level.close();
    }
  } catch {
    return 'unreadable';
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
