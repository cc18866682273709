import { appendFile, chmod, lstat, mkdir, readdir, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { silentLogger } from '../../src/log.js';
import { withScope } from '../../src/scope.js';
import type { Mount } from '../../src/vocabulary.js';
import { RigError, tool } from '../rig/process.js';
import { noise } from './layers.js';
import { mountHere, type World } from './world.js';

/** What a container does to its root, in ten files: four new, three longer, one replaced, one deleted, one with another mode. */
async function changeTenFiles(root: string): Promise<void> {
  const [first, second, third, fourth, fifth, sixth] = await existingFiles(root, 6);
  await mkdir(join(root, 'opt', 'changed'), { recursive: true });
  for (let file = 0; file < 4; file++) await writeFile(join(root, 'opt', 'changed', `${file}`), noise(`${file}`, 4096));
  for (const path of [first, second, third]) await appendFile(path, 'a line that the container added\n');
  await writeFile(`${fourth}.new`, 'replaced by the container\n');
  await rename(`${fourth}.new`, fourth);
  await rm(fifth);
  await chmod(sixth, 0o700);
}

type Six = [string, string, string, string, string, string];

/** Small regular files, in an order that does not depend on the folder's. */
async function existingFiles(root: string, count: 6): Promise<Six> {
  const found: string[] = [];
  for (const folder of ['etc', 'usr/share', 'usr/lib', 'usr', '.']) {
    for (const path of await filesBelow(join(root, folder))) {
      if (found.length < count && !found.includes(path)) found.push(path);
    }
    if (found.length === count) return found as Six;
  }
  throw new RigError(`the image has fewer than ${count} small files to change`, 'give a larger image');
}

async function filesBelow(folder: string, depth = 2): Promise<string[]> {
  const names = (await readdir(folder).catch(() => [])).sort().slice(0, 100);
  const found: string[] = [];
  for (const name of names) {
    const path = join(folder, name);
    const entry = await lstat(path);
    if (entry.isFile() && entry.size < 65_536) found.push(path);
    else if (entry.isDirectory() && depth > 0) found.push(...(await filesBelow(path, depth - 1)));
    if (found.length >= 6) break;
  }
  return found;
}

/** Makes the change in a container of overlayfs. @returns its upper folder. */
export async function changeOverlay(world: World, [mount]: readonly Mount[]): Promise<string> {
  const upper = mount?.options.find((option) => option.startsWith('upperdir='))?.slice('upperdir='.length);
  if (mount?.type !== 'overlay' || upper === undefined)
    throw new RigError('overlayfs answered no overlay', 'see what its Prepare answers');
  await withScope(silentLogger(), async (scope) => changeTenFiles(await mountHere(scope, world, mount)));
  return upper;
}

/** Puts the same change where a guest leaves it: into `upper/` of the ext4 image that is the last mount. */
export async function changeGuestDisk(world: World, mounts: readonly Mount[], upper: string): Promise<void> {
  const source = mounts.at(-1)?.source ?? '';
  await withScope(silentLogger(), async (scope) => {
    const target = await mountHere(scope, world, { type: 'ext4', source, options: ['loop', 'rw'] });
    const { exitCode, stderr } = await tool('cp', ['--archive', `${upper}/.`, join(target, 'upper')]);
    if (exitCode !== 0) throw new RigError(`copying the change failed: ${stderr.trim()}`, 'run the benchmark as root');
  });
}
