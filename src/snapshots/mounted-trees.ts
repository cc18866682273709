import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { SnapshotterError } from '../errors.js';
import { mountReadOnly, unmount } from '../host/index.js';
import type { ComparedTree } from '../layers/index.js';
import type { Scope } from '../scope.js';
import type { ComparedSide } from './compared-side.js';
import type { Context } from './context.js';
import { mountUpper } from './mounted-upper.js';
import { pathsOf, type LayerPlace } from './serve.js';

export interface Mounting {
  readonly context: Context;
  readonly quiesced: boolean;
  readonly signal: AbortSignal;
}

/** mount(2) takes one page of options; what mountReadOnly adds fits into the rest. */
const longestLowers = 3_900;

/** Mounts one layer by itself at `target`, until the scope ends. */
export async function mountLayer(o: Mounting, scope: Scope, { id, file }: LayerPlace, target: string): Promise<string> {
  return mountErofs(o, scope, o.context.paths.snapshot(id).layer(file), [], target);
}

/**
 * Mounts a whole side below `folder`, until the scope ends.
 *
 * @throws SnapshotterError as `mountUpper`; `failed-precondition` when there are more layers than one overlay mount takes
 */
export async function mountTree(o: Mounting, scope: Scope, side: ComparedSide, folder: string): Promise<ComparedTree> {
  await mkdir(folder, { mode: 0o700 });
  const image = await mountImage(o, scope, side, folder);
  if (!side.active) return image;
  const upper = await mountUpper(scope, o.context.paths.snapshot(side.active.id), o);
  return mountOverlay(o, scope, [upper, image.path], join(folder, 'whole'));
}

async function mountImage(o: Mounting, scope: Scope, side: ComparedSide, folder: string): Promise<ComparedTree> {
  const { serve, layers } = side;
  const target = join(folder, 'image');
  const plain = (path: string): ComparedTree => ({ path, throughOverlay: false });
  const image = serve.shape === 'image' ? serve.image : 'none';
  switch (image) {
    case 'none':
      await mkdir(target, { mode: 0o755 });
      return plain(target);
    case 'single':
      return plain(await mountErofs(o, scope, pathsOf(layers, o.context.paths)[0] ?? '', [], target));
    case 'merged': {
      const merged = serve.shape === 'image' && serve.merged !== undefined ? serve.merged : 0;
      const { paths } = o.context;
      return plain(await mountErofs(o, scope, paths.snapshot(merged).merged, pathsOf(layers, paths), target));
    }
    case 'separate': {
      const lowers: string[] = [];
      for (const [index, layer] of layers.entries()) {
        lowers.unshift(await mountLayer(o, scope, layer, join(folder, String(index))));
      }
      return mountOverlay(o, scope, lowers, target);
    }
  }
}

async function mountErofs(
  { signal }: Mounting,
  scope: Scope,
  image: string,
  devices: readonly string[],
  target: string,
): Promise<string> {
  await mkdir(target, { mode: 0o700 });
  await mountReadOnly({ image, devices, target, type: 'erofs', options: ['nosymfollow'], signal });
  scope.defer(`mount of ${image}`, () => unmount(target));
  return target;
}

/** What a guest may have used is followed: directories it renamed, and files of which it changed the attributes alone. */
async function mountOverlay(
  { signal }: Mounting,
  scope: Scope,
  newestFirst: readonly string[],
  target: string,
): Promise<ComparedTree> {
  const lowers = newestFirst.join(':');
  if (lowers.length > longestLowers || /[,\\"]/.test(lowers) || newestFirst.some((path) => path.includes(':'))) {
    throw new SnapshotterError(
      'failed-precondition',
      `${newestFirst.length} layers cannot be stacked on this host to compare them: their paths are too long, or hold one of , : \\ "`,
      { facts: { layers: newestFirst.length }, next: 'choose a shorter and plainer root' },
    );
  }
  await mkdir(target, { mode: 0o700 });
  const options = ['nosymfollow', `lowerdir=${lowers}`, 'metacopy=on'];
  await mountReadOnly({ source: 'overlay', target, type: 'overlay', options, signal });
  scope.defer('mount of the whole tree', () => unmount(target));
  return { path: target, throughOverlay: true };
}
